"""`debias`, and samples that count more than once: the weights are those of an epoch that is seen once."""

import math

import pytest
import torch
import torch.nn.functional as F
from epochs import end_epochs, normal

from vlltr_plugin import ClassVolume, ReweightedLoss


def chi_square_bias(n):
    return (math.log((n - 1) / 2) - float(torch.digamma(torch.tensor((n - 1) / 2, dtype=torch.float64)))) / 2


@pytest.mark.parametrize("variant", ["dv", "bv"])
@pytest.mark.parametrize("mass", [3, 9, 10])
def test_debias_without_repeated_draws_uses_the_samples_observed(variant, mass):
    labels = torch.cat([torch.zeros(400 - mass), torch.ones(mass)]).long()
    plain, debiased = (ClassVolume([400, 10, 9], variant=variant, debias=debias) for debias in (False, True))
    for weighting in (plain, debiased):
        weighting.observe(normal(400, 3), labels)
        weighting.end_epoch()
    added = (debiased.log_radius64 - plain.log_radius64)[:2].tolist()
    assert added == pytest.approx([chi_square_bias(400 - mass), chi_square_bias(mass)], abs=1e-9)


SEEN = [{}, {"variant": "bv"}, {"features": 3}, {"variant": "pv", "axes": 2}]
SEEN += [{**options, "debias": True} for options in SEEN[:3]]


@pytest.mark.parametrize("options", SEEN, ids=str)
@pytest.mark.parametrize("passes", [2, 3, 7])
def test_an_epoch_seen_several_times_gives_the_radii_of_one_seen_once(passes, options):
    counts = [8, 5, 3]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    rows = normal(16, 3, dtype=torch.float64)
    once, often = (ClassVolume(counts, **options) for _ in range(2))
    once.observe(rows, labels)
    for _ in range(passes):
        often.observe(rows, labels)
    end_epochs(once, often)
    torch.testing.assert_close(often.log_radius64, once.log_radius64, rtol=0, atol=1e-9)


@pytest.mark.parametrize("images", [2, 5, 10])
@pytest.mark.parametrize("repeats", [0, 1, 2])
def test_debias_gives_the_true_radius_also_where_some_images_come_twice(images, repeats):
    """On the mean over many classes of standard normal logits; the radius is 1."""
    classes = 400
    rows = normal(classes, images, classes)
    rows = torch.cat([rows, rows[:, :repeats]], dim=1)
    labels = torch.arange(classes).repeat_interleave(rows.shape[1])
    radius = {}
    for debias in (False, True):
        weighting = ClassVolume([images] * classes, debias=debias)
        weighting.observe(rows.flatten(0, 1), labels)
        weighting.end_epoch()
        radius[debias] = float(weighting.log_radius64.mean())
    assert radius[True] == pytest.approx(0, abs=0.01)
    assert radius[False] == pytest.approx(-chi_square_bias(images), abs=0.01)


ROWS = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0], [1.0, 3.0]])
LABELS = torch.tensor([0, 0, 0, 0, 1, 1])
HALVES, THIRDS = (slice(0, 3), slice(3, 6)), (slice(0, 2), slice(2, 4), slice(4, 6))


def loss(criterion, part=slice(None), rows=ROWS, targets=LABELS):
    return criterion(rows[part].clone().requires_grad_(), targets[part])


def accumulated(criterion):
    sum(loss(criterion, part) for part in THIRDS).backward()


LOOPS = {
    "once": lambda criterion: loss(criterion).backward(),
    "sharpness aware": lambda criterion: [loss(criterion, part).backward() for part in HALVES for _ in range(2)],
    "accumulated": accumulated,
    "all parts for each part": lambda criterion: [accumulated(criterion) for _ in THIRDS],
    "dropped out twice": lambda criterion: (loss(criterion) + loss(criterion)).backward(),
    "views in one batch": lambda criterion: loss(criterion, rows=ROWS.repeat(4, 1), targets=LABELS.repeat(4)),
    "observed by hand": lambda criterion: [criterion.observe(ROWS, LABELS) for _ in range(5)],
    "one-hot": lambda criterion: [loss(criterion, targets=F.one_hot(LABELS, 2).float()) for _ in range(2)],
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("assign", ["dominant", "mass"])
def test_the_weights_are_those_of_an_epoch_seen_once(loop, assign):
    criterion = ReweightedLoss(ClassVolume([4, 2], assign=assign))
    LOOPS[loop](criterion)
    criterion.end_epoch()
    sigma = [ROWS[label == LABELS].double().std(dim=0).log().mean().exp() for label in range(2)]
    raw = [float(sigma[0]) / 4, float(sigma[1]) / 2]
    beta = 6 / (4 * raw[0] + 2 * raw[1])
    assert criterion.weighting.weights.tolist() == pytest.approx([beta * raw[0], beta * raw[1]], rel=1e-6)
