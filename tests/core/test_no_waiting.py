"""Nothing in a training step waits for the device: on `meta` tensors every `.item()` and `bool()` raises."""

import pytest
import torch

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss


def step(criterion, targets):
    logits = torch.randn(6, 3, device="meta", requires_grad=True)
    criterion(logits, targets).backward()
    return logits.grad


@pytest.mark.parametrize("variant", ["dv", "bv", "pv"])
@pytest.mark.parametrize("assign", ["dominant", "mass"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_step_of_class_volume_reads_nothing_back(variant, assign, soft):
    criterion = ReweightedLoss(ClassVolume([5, 4, 3], variant=variant, assign=assign), smoothing=0.1)
    criterion._smoothing_checked = True  # the first soft batch is read once
    targets = torch.rand(6, 3, device="meta") if soft else torch.zeros(6, dtype=torch.int64, device="meta")
    assert step(criterion, targets).device.type == "meta"
    assert criterion.weighting._moments.second.device.type == "meta"


def test_weights_follow_the_logits_once_and_are_not_copied_in_every_step(monkeypatch):
    criterion = ReweightedLoss(InverseFrequency([5, 4, 3]))
    targets = torch.zeros(6, dtype=torch.int64, device="meta")
    step(criterion, targets)
    assert criterion.weighting.weights.device.type == "meta"
    monkeypatch.setattr(criterion.weighting, "_apply", lambda *args: pytest.fail("moved again"))
    step(criterion, targets)
