"""`debias`, and samples that count more than once: the weights are those of an epoch that is seen once."""

import math

import pytest
import torch
import torch.nn.functional as F
from epochs import end_epochs, normal

from vlltr_plugin import ClassVolume


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
SEEN += [{**options, "debias": True} for options in SEEN[:3]] + [{"assign": "mass"}]


@pytest.mark.parametrize("options", SEEN, ids=str)
@pytest.mark.parametrize("passes", [2, 3, 7])
@pytest.mark.parametrize("soft", [False, True])
def test_an_epoch_seen_several_times_gives_the_radii_of_one_seen_once(passes, options, soft):
    counts = [8, 5, 3]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    rows = normal(16, 3, dtype=torch.float64)
    once, often = (ClassVolume(counts, **options) for _ in range(2))
    targets = F.one_hot(labels).double() if soft else labels
    once.observe(rows, targets)
    for _ in range(passes - 1):
        often.observe(rows, targets)
    often.observe(rows.flip(0), targets.flip(0))
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
