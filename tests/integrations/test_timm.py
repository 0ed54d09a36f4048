"""timm's `train.py`, in miniature, with its own saver and resume: the lines that the docs add."""

import argparse
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import vlltr_plugin.compat
from vlltr_plugin import ClassVolume, ReweightedLoss, RunRecorder

assert vlltr_plugin.compat  # before timm
timm = pytest.importorskip("timm", reason="pip install timm")
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


def test_a_resumed_run_has_the_weights_of_one_that_never_stopped(tmp_path):
    expected_model, expected = main(tmp_path / "whole", 3)
    main(tmp_path / "run", 2)
    model, criterion = main(tmp_path / "again", 3, resume=str(tmp_path / "run" / "last.pth.tar"))
    assert not torch.equal(expected.weighting.weights, torch.ones(3))
    for name, value in expected.state_dict().items():
        assert torch.equal(criterion.state_dict()[name], value), name
    assert torch.equal(model.weight, expected_model.weight)


def test_an_older_checkpoint_gets_its_own_weights(tmp_path):
    expected = main(tmp_path / "whole", 2)[1]
    main(tmp_path / "run", 3)
    criterion = main(tmp_path / "again", 2, resume=str(tmp_path / "run" / "checkpoint-0.pth.tar"))[1]
    assert torch.equal(criterion.weighting.weights, expected.weighting.weights)


def test_a_checkpoint_without_a_state_is_said(tmp_path):
    main(tmp_path, 2)
    for path in (tmp_path / "reweight").iterdir():
        path.unlink()
    with pytest.warns(UserWarning, match="START AT 1"):
        main(tmp_path, 3, resume=str(tmp_path / "last.pth.tar"))
