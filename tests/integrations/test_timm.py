"""timm's `train.py`, in miniature, with its own saver and resume: the lines that the docs add."""

import argparse
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import vlltr_plugin.compat
from vlltr_plugin import ClassVolume, LabelLosses, ReweightedLoss, RunRecorder, Uniform

assert vlltr_plugin.compat  # before timm
timm = pytest.importorskip("timm", reason="pip install timm")
from timm import loss as timm_loss  # noqa: E402
from timm.models import resume_checkpoint  # noqa: E402
from timm.utils import CheckpointSaver  # noqa: E402

COUNTS = [60, 30, 12]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
ROWS = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) * (1.0 + LABELS[:, None])


def main(output_dir, epochs, resume=""):
    """What `train.py` does, in its order."""
    output_dir.mkdir(exist_ok=True)
    model = torch.nn.Linear(4, 3)
    torch.nn.init.constant_(model.weight, 0.01)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    resume_epoch = resume_checkpoint(model, resume, optimizer, log_info=False) if resume else None
    train_loss_fn = ReweightedLoss(ClassVolume(COUNTS))  # added
    args = argparse.Namespace(model="linear")
    saver = CheckpointSaver(model, optimizer, args=args, checkpoint_dir=str(output_dir), recovery_dir=str(output_dir))
    start_epoch = resume_epoch or 0
    folder = Path(resume).parent if resume else output_dir
    recorder = RunRecorder(folder, train_loss_fn)  # added
    recorder.resume(start_epoch)  # added
    for epoch in range(start_epoch, epochs):
        order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(epoch))
        for rows, target in DataLoader(TensorDataset(ROWS[order], LABELS[order]), batch_size=17):
            optimizer.zero_grad()
            train_loss_fn(model(rows), target).backward()
            optimizer.step()
        top1 = 100 * (model(ROWS).argmax(1) == LABELS).float().mean().item()
        recorder.end_epoch(epoch, overall=top1)  # added, before the saver
        saver.save_checkpoint(epoch, metric=top1)
    return model, train_loss_fn


def test_an_older_checkpoint_gets_its_own_weights(tmp_path):
    expected = main(tmp_path / "whole", 2)[1]
    main(tmp_path / "run", 3)
    criterion = main(tmp_path / "again", 2, resume=str(tmp_path / "run" / "checkpoint-0.pth.tar"))[1]
    assert torch.equal(criterion.weighting.weights, expected.weighting.weights)


class MeanSigmoid(LabelLosses):
    """As in the docs, for `--bce-loss`."""

    def __call__(self, logits):
        return torch.nn.functional.softplus(logits).mean(dim=1, keepdim=True) - logits / logits.shape[1]


OWN = {
    "plain": (lambda smoothing: torch.nn.CrossEntropyLoss(), "softmax", 0.0),
    "smoothed": (timm_loss.LabelSmoothingCrossEntropy, "softmax", 0.1),
    "bce": (timm_loss.BinaryCrossEntropy, MeanSigmoid(), 0.1),
    "bce, not smoothed": (timm_loss.BinaryCrossEntropy, MeanSigmoid(), 0.0),
    "bce summed": (lambda smoothing: timm_loss.BinaryCrossEntropy(smoothing, sum_classes=True), "sigmoid", 0.1),
}
OWN_OF_MIXTURES = {
    "soft": (lambda smoothing: timm_loss.SoftTargetCrossEntropy(), "softmax", 0.1),
    "bce": OWN["bce"],
    "bce summed": OWN["bce summed"],
}


@pytest.mark.parametrize(
    ("own", "mixed"), [*((own, False) for own in OWN.values()), *((own, True) for own in OWN_OF_MIXTURES.values())]
)
def test_equal_weights_give_timm_s_own_loss_and_gradient(own, mixed):
    made, base, smoothing = own
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 40, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(40, (8,), generator=generator)
    if mixed:
        hard = torch.nn.functional.one_hot(targets, 40).double()
        targets = (1 - smoothing) * (0.7 * hard + 0.3 * hard.flip(0)) + smoothing / 40
    expected, found = (
        made(smoothing)(logits, targets),
        ReweightedLoss(Uniform([9] * 40), base, smoothing)(logits, targets),
    )
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_loss_is_torchvision_s_summed_over_the_classes(gamma):
    from torchvision.ops import sigmoid_focal_loss

    from vlltr_plugin import FocalLosses

    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    labels = torch.arange(8) % 5
    hard = torch.nn.functional.one_hot(labels, 5).double()
    expected = sigmoid_focal_loss(logits, hard, alpha=-1, gamma=gamma, reduction="sum") / 8
    found = ReweightedLoss(Uniform([9] * 5), FocalLosses(gamma))(logits, labels)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)
