"""Nothing in a training step waits for the device: on `meta` tensors every `.item()` and `bool()` raises.

A criterion goes there only if it is moved; logits on `meta` leave its numbers where they are.
"""

import pytest
import torch

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss


def step(criterion, targets):
    logits = torch.randn(6, 3, device="meta", requires_grad=True)
    criterion(logits, targets).backward()
    return logits.grad


@pytest.mark.parametrize("variant", ["dv", "bv", "pv"])
@pytest.mark.parametrize("assign", ["dominant", "mass"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_step_of_class_volume_reads_nothing_back(variant, assign, soft):
    criterion = ReweightedLoss(ClassVolume([5, 4, 3], variant=variant, assign=assign), smoothing=0.1)
    criterion.to("meta")
    targets = torch.rand(6, 3, device="meta") if soft else torch.zeros(6, dtype=torch.int64, device="meta")
    assert step(criterion, targets).device.type == "meta"
    assert criterion.weighting._moments.second.device.type == "meta"


def test_weights_are_moved_once_and_not_in_every_step(monkeypatch):
    criterion = ReweightedLoss(InverseFrequency([5, 4, 3])).to("meta")
    targets = torch.zeros(6, dtype=torch.int64, device="meta")
    monkeypatch.setattr(criterion.weighting, "_apply", lambda *args: pytest.fail("moved again"))
    step(criterion, targets)


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("weighting", [ClassVolume, InverseFrequency])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_logits_on_meta_leave_the_weighting_s_numbers_where_they_are(made, weighting, training, soft):
    told, spared = (made(weighting([30, 20, 10]), smoothing=0.1) for _ in range(2))
    targets = torch.rand(6, 3, device="meta") if soft else torch.zeros(6, dtype=torch.int64, device="meta")
    logits = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        for criterion in (told, spared):
            criterion(logits.clone().requires_grad_(), torch.arange(30) % 3)
        assert step(told.train(training), targets).shape == (6, 3)
        told.train()
        for criterion in (told, spared):
            criterion.end_epoch()
    assert torch.equal(told.weighting.weights, spared.weighting.weights)
    assert torch.equal(told.drawn, spared.drawn)


def test_logits_on_meta_are_refused_as_something_to_observe():
    with pytest.raises(ValueError, match="without data"):
        ClassVolume([5, 4, 3]).observe(torch.randn(6, 3, device="meta"), torch.zeros(6, dtype=torch.int64))
