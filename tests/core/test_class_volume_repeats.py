"""`debias`, and samples that count more than once: the weights are those of an epoch that is seen once."""

import math

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.core.moments import ClassMoments, log_sigma_bias


def chi_square_bias(n):
    return (math.log((n - 1) / 2) - float(torch.digamma(torch.tensor((n - 1) / 2, dtype=torch.float64)))) / 2


@pytest.mark.parametrize("variant", ["dv", "bv"])
@pytest.mark.parametrize("mass", [3, 9, 10])
def test_debias_without_repeated_draws_uses_the_samples_observed(variant, mass):
    rows = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.cat([torch.zeros(400 - mass), torch.ones(mass)]).long()
    plain, debiased = (ClassVolume([400, 10, 9], variant=variant, debias=debias) for debias in (False, True))
    for weighting in (plain, debiased):
        weighting.observe(rows, labels)
        weighting.end_epoch()
    added = (debiased.log_radius64 - plain.log_radius64)[:2].tolist()
    assert added == pytest.approx([chi_square_bias(400 - mass), chi_square_bias(mass)], abs=1e-9)


@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize("options", [{}, {"variant": "bv"}, {"features": 3}, {"variant": "pv", "axes": 2}])
@pytest.mark.parametrize("passes", [2, 3, 7])
def test_an_epoch_seen_several_times_gives_the_radii_of_one_seen_once(passes, options, debias):
    if debias and options.get("variant") == "pv":
        pytest.skip("pv has no debias")
    counts = [8, 5, 3]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    rows = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    once, often = (ClassVolume(counts, debias=debias, **options) for _ in range(2))
    once.observe(rows, labels)
    for _ in range(passes):
        often.observe(rows, labels)
    for weighting in (once, often):
        weighting.end_epoch()
    torch.testing.assert_close(often.log_radius64, once.log_radius64, rtol=0, atol=1e-9)


@pytest.mark.parametrize("images", [2, 5, 10])
@pytest.mark.parametrize("repeats", [0, 1, 2])
def test_debias_gives_the_true_radius_also_where_some_images_come_twice(images, repeats):
    """On the mean over many classes of standard normal logits; the radius is 1."""
    classes, features = 2000, 100
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(classes, images, features, generator=generator)
    rows = torch.cat([rows, rows[:, :repeats]], dim=1)
    moments = ClassMoments(classes, features, torch.device("cpu"))
    moments.add(rows.flatten(0, 1), torch.arange(classes).repeat_interleave(images + repeats))
    n = torch.full((classes,), float(images), dtype=torch.float64)
    found = moments.mean_log_sigma(n) + log_sigma_bias(n)
    assert float(found.mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("samples", "factor"), [(2, 0.53), (5, 0.87)])
def test_debias_adds_what_log_sigma_of_few_normal_samples_lacks(samples, factor):
    rows = torch.randn(100 * samples, 100, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(100).repeat(samples)
    sigma = {}
    for debias in (False, True):
        weighting = ClassVolume([samples] * 100, debias=debias)
        weighting.observe(rows, labels)
        weighting.end_epoch()
        sigma[debias] = float(weighting.log_radius.mean().exp())
    assert sigma[False] == pytest.approx(factor, abs=0.015)
    assert sigma[True] == pytest.approx(1.0, abs=0.025)


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
