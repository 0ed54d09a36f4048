"""`torch.inference_mode` around any part of the life of a criterion; training before and after."""

import copy
import warnings
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from oracles import observed

from vlltr_plugin import ClassVolume, EffectiveNumber, LogitAdjustedLoss, ReweightedLoss
from vlltr_plugin.core.frequency import FrequencyWeighting

MAKERS = {
    "dv": ClassVolume,
    "bv": lambda n, **options: ClassVolume(n, variant="bv", **options),
    "pv": lambda n, **options: ClassVolume(n, variant="pv", **options),
    "wide": lambda n, **options: ClassVolume(n + [1] * 200, **options),  # float32 sums
    "effective number": EffectiveNumber,
}
PARTS = ("construct", "observe", "end_epoch", "begin_epoch", "load", "move")


class Life:
    """Two epochs of a criterion, the named parts of them inside inference mode, and a step of training."""

    def __init__(self, make, inside, soft):
        self.make, self.inside, self.soft = make, inside, soft

    def part(self, name):
        return torch.inference_mode() if name in self.inside else nullcontext()

    def run(self):
        generator = torch.Generator().manual_seed(0)
        with self.part("construct"):
            criterion = ReweightedLoss(self.make([50, 40, 30]), smoothing=0.1)
        classes = criterion.weighting.num_classes
        losses = []
        for epoch in range(3):
            for step in range(3):
                rows = torch.randn(48, classes, generator=generator)
                labels = torch.arange(48) % 3
                targets = F.one_hot(labels, classes) * 0.9 + 0.1 / classes if self.soft else labels
                if step == 1:
                    with self.part("observe"):
                        criterion.observe(rows * 1.0, targets * 1)
                logits = rows.requires_grad_()
                loss = criterion(logits, targets)
                loss.backward()
                losses += [loss.detach(), logits.grad]
            with self.part("move"):
                criterion.to("cpu").double().float()
            with self.part("end_epoch"):
                criterion.end_epoch()
            with self.part("load"):
                state = criterion.state_dict()
                criterion.load_state_dict(state)
                criterion.load_state_dict(copy.deepcopy(state), assign=True)
            with self.part("begin_epoch"):
                criterion.weighting.begin_epoch(epoch + 1)
        return criterion, losses


@pytest.mark.parametrize("inside", [*((name,) for name in PARTS), PARTS], ids="+".join)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("make", MAKERS)
def test_any_part_inside_inference_mode_gives_the_same_run_as_outside(make, soft, inside):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, expected_losses = Life(MAKERS[make], (), soft).run()
        criterion, losses = Life(MAKERS[make], inside, soft).run()
    assert all(torch.equal(a, b) for a, b in zip(losses, expected_losses, strict=True))
    assert torch.equal(criterion.weighting.weights, expected.weighting.weights)
    assert not any(buffer.is_inference() for buffer in criterion.buffers())


def test_logits_of_an_inference_pass_feed_the_statistics_of_a_run_that_trains():
    layer = torch.nn.Linear(5, 3)
    rows, labels = torch.randn(90, 5), torch.arange(90) % 3
    inside, outside = ClassVolume([50, 40, 30]), ClassVolume([50, 40, 30])
    with torch.inference_mode():
        logits = layer(rows)
        inside.observe(logits, labels)
    inside.observe(logits, labels)
    for _ in range(2):
        outside.observe(logits, labels)
    for weighting in (inside, outside):
        weighting.end_epoch()
    assert torch.equal(inside.weights, outside.weights)


def test_evaluation_in_inference_mode_leaves_training_as_it_was():
    criterion = ReweightedLoss(observed(ClassVolume([50, 40, 30])))
    before = copy.deepcopy(criterion.state_dict())
    with torch.inference_mode():
        criterion(torch.randn(6, 3), torch.arange(6) % 3)
        criterion.eval()
        criterion(torch.randn(6, 3), torch.arange(6) % 3)
    assert all(torch.equal(value, before[name]) for name, value in criterion.state_dict().items())
    criterion.train()
    criterion(torch.randn(6, 3, requires_grad=True), torch.arange(6) % 3).backward()
    criterion.end_epoch()


def test_a_users_weighting_may_be_made_in_inference_mode():
    class Own(FrequencyWeighting):
        def log_shape(self, counts):
            return counts.log() / 3

    with torch.inference_mode():
        inside = LogitAdjustedLoss(Own([50, 40, 30], start_epoch=1))
    logits = torch.randn(6, 3, requires_grad=True)
    inside(logits, torch.arange(6) % 3).backward()
    inside.end_epoch()
    inside(logits, torch.arange(6) % 3).backward()
    assert torch.equal(inside.weighting.weights, Own([50, 40, 30]).weights)
