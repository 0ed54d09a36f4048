"""How the losses of a batch become one number: `reduction`, and batches without elements."""

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, Uniform

CRITERIA = [ReweightedLoss, LogitAdjustedLoss]
COUNTS = [9, 5, 2]
IGNORED = {"ignore_index": -9}


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(6,), (4, 5)], ids=str)
@pytest.mark.parametrize("how", ["constructor", "call", "attribute"])
def test_without_weights_every_reduction_is_torch_s(made, reduction, shape, how):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape[0], 3, *shape[1:], generator=generator)
    labels = torch.randint(3, shape, generator=generator)
    mixed = F.pad(logits[:, 1:].softmax(dim=1), (0, 0) * (len(shape) - 1) + (1, 0))
    for targets in (labels, labels.flatten().index_fill(0, torch.tensor([1]), -9).view(shape), mixed):
        told = {"reduction": reduction} if how == "constructor" else {}
        criterion = made(Uniform(COUNTS), **IGNORED, **told)
        if how == "attribute":  # as fastai sets it
            criterion.reduction = reduction
        loss = criterion(logits, targets, reduction=reduction) if how == "call" else criterion(logits, targets)
        expected = F.cross_entropy(logits, targets, reduction=reduction, **({} if targets is mixed else IGNORED))
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("made", CRITERIA)
def test_reductions_with_weights_agree_and_all_observe(made):
    logits, labels = torch.randn(30, 3, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3
    criterion = made(ClassVolume([10, 10, 10], start_epoch=0))
    for reduction in ("none", "sum", "mean"):
        each = criterion(logits.clone().requires_grad_(), labels, reduction="none").detach()
        loss = criterion(logits.clone().requires_grad_(), labels, reduction=reduction).detach()
        expected = {"none": each, "sum": each.sum(), "mean": each.sum() / 30}[reduction]
        torch.testing.assert_close(loss, expected)
        assert criterion.weighting._moments.mass.tolist() == [20, 20, 20]
        criterion.end_epoch()


@pytest.mark.parametrize("made", CRITERIA)
def test_an_unknown_reduction_is_refused(made):
    with pytest.raises(ValueError, match="Expected reduction"):
        made(Uniform(COUNTS), reduction="batchmean")
    criterion = made(ClassVolume(COUNTS))
    with pytest.raises(ValueError, match="Expected reduction"):
        criterion(torch.randn(2, 3, requires_grad=True), torch.tensor([0, 1]), reduction="average")
    assert criterion.weighting._moments is None


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("weighting", [InverseFrequency, ClassVolume, lambda n: ClassVolume(n, variant="pv")])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("options", [{}, {"ignore_index": -9}, {"smoothing": 0.1}], ids=str)
@pytest.mark.parametrize("more", [(), (4,)], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_an_empty_batch_costs_0_and_teaches_nothing(made, weighting, soft, options, more, training):
    model = torch.nn.Linear(2, 3)
    logits = model(torch.zeros(0, 2)).view(0, 3, *(1 for _ in more)).expand(0, 3, *more)
    targets = torch.zeros(0, 3, *more) if soft else torch.zeros(0, *more, dtype=torch.int64)
    criterion = made(weighting(COUNTS), **options).train(training)
    loss = criterion(logits, targets)
    loss.backward()
    assert loss.item() == 0
    assert all(torch.equal(parameter.grad, torch.zeros_like(parameter)) for parameter in model.parameters())
    assert criterion(logits, targets, reduction="none").shape == (0, *more)
