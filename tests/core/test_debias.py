"""`debias`: what log sigma of few samples lacks, and that draws with replacement repeat them."""

import math

import numpy as np
import pytest
import torch

from vlltr_plugin import ClassVolume


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


def mean_log_radius(images, draws, debias, classes=60):
    """Of classes whose images, standard normal logits, are drawn with replacement."""
    rng = np.random.default_rng(0)
    weighting = ClassVolume([images] * classes, draws=[draws] * classes, debias=debias)
    for _ in range(30):
        logits = rng.standard_normal((classes, images, classes)).astype(np.float32)
        picks = rng.integers(0, images, (classes, draws))
        rows = torch.from_numpy(np.take_along_axis(logits, picks[:, :, None], axis=1))
        weighting.observe(rows.flatten(0, 1), torch.arange(classes).repeat_interleave(draws))
        weighting.end_epoch()
        yield float(weighting.log_radius64[~weighting.substituted].mean())


@pytest.mark.parametrize(
    ("images", "draws", "plain"), [(2, 13, -0.99), (3, 15, -0.51), (5, 21, -0.26), (5, 7, -0.33), (20, 43, -0.065)]
)
def test_debias_covers_that_draws_with_replacement_repeat_few_images(images, draws, plain):
    assert np.mean(list(mean_log_radius(images, draws, debias=False))) == pytest.approx(plain, abs=0.02)
    assert np.mean(list(mean_log_radius(images, draws, debias=True))) == pytest.approx(0, abs=0.02)


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
