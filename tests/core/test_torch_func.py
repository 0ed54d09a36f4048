"""Criteria inside `torch.func`: gradients and per-sample gradients are those of autograd, and nothing is observed."""

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss

KINDS = {
    "softmax": ReweightedLoss,
    "focal": lambda *a, **k: ReweightedLoss(*a, base="focal", **k),
    "callable": lambda *a, **k: ReweightedLoss(*a, base=lambda z, y: F.cross_entropy(z, y, reduction="none"), **k),
    "margins": LogitAdjustedLoss,
}


def batch(soft, smoothing):
    logits, labels = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    mixed = 0.7 * F.one_hot(labels, 3) + 0.3 * F.one_hot((labels + 1) % 3, 3)
    return logits, mixed * (1 - smoothing) + smoothing / 3 if soft else labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighting", [InverseFrequency, ClassVolume])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"smoothing": 0.1}], ids=str)
def test_gradients_are_autograd_s_and_nothing_is_observed(kind, soft, weighting, training, options):
    criterion = KINDS[kind](weighting([90, 30, 5]), **options).train(training)
    logits, targets = batch(soft, options.get("smoothing", 0.0))
    leaf = logits.clone().requires_grad_()
    losses = criterion.losses if training else criterion  # in eval mode the loss has no weights
    losses(leaf, targets, **({} if training else {"reduction": "sum"})).sum().backward()
    of_sum = torch.func.grad(lambda z: criterion(z, targets, reduction="sum"))(logits)
    torch.testing.assert_close(of_sum, leaf.grad)
    each = torch.func.vmap(torch.func.grad(lambda z, t: criterion(z[None], t[None])))(logits, targets)
    torch.testing.assert_close(each, leaf.grad)
    assert criterion._draws.drawn.sum() == 0
    assert getattr(criterion.weighting, "_moments", None) is None


def test_an_epoch_inside_torch_func_is_told_to_be_unobserved():
    criterion = ReweightedLoss(ClassVolume([90, 30, 5]))
    logits, labels = batch(False, 0.0)
    torch.func.grad(lambda z: criterion(z, labels))(logits)
    with pytest.warns(UserWarning, match=r"torch\.func"):
        criterion.end_epoch()
    criterion.observe(logits, labels)
    criterion.end_epoch()
    assert criterion.weighting.has_radii


def test_a_batch_that_does_not_fit_is_refused_inside_grad_too():
    criterion = ReweightedLoss(InverseFrequency([90, 30, 5]), smoothing=0.1)
    logits, mixed = batch(True, 0.0)
    for targets in (mixed, torch.full((9,), 3)):
        with pytest.raises(ValueError, match="Expected"):
            torch.func.grad(lambda z, targets=targets: criterion(z, targets))(logits)
