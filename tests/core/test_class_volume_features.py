"""Class volume of a random sample of the logits (`features`)."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from epochs import default_dtype, mixture, normal
from oracles import log_radius_of, weights_of

from vlltr_plugin import ClassVolume

VARIANTS = ("dv", "bv")


def epoch_of(classes, each, seed=0, dtype=torch.float32):
    """Logits whose columns and classes have spreads of their own, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)[torch.randperm(classes * each, generator=generator)]
    spread = torch.rand(classes, classes, generator=generator) + 0.2
    rows = 20 + torch.randn(len(labels), classes, generator=generator) * spread[labels]
    return rows.to(dtype), labels


def after(rows, targets, size=50, smoothing=0.0, each=4, **options):
    """Class volume after an epoch."""
    weighting = ClassVolume([each] * rows.shape[1], **options)
    for part in torch.arange(len(rows)).split(size):
        weighting.observe(rows[part], targets[part], smoothing)
    weighting.end_epoch()
    return weighting


def radius_of(rows, masses, label, columns, variant):
    """The definition on the sampled columns, in float64; for bv of the differences with them."""
    rows = rows.double().numpy()
    if variant == "bv":
        return log_radius_of(np.stack([rows[:, label] - rows[:, j] for j in columns if j != label], axis=1), masses)
    return log_radius_of(rows[:, columns], masses)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("classes", [6, 140])
def test_features_of_all_classes_give_the_full_statistics(variant, classes):
    full, sampled = (after(*epoch_of(classes, 4), variant=variant, features=features) for features in (None, classes))
    assert torch.equal(sampled.log_radius64, full.log_radius64)
    assert torch.equal(sampled.weights, full.weights)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("classes", "features"), [(7, 3), (140, 20)])
@pytest.mark.parametrize("kind", ["float32", "float64", "mixed"])
def test_radii_are_those_of_a_loop_over_the_sampled_columns(variant, classes, features, kind):
    rows, labels = epoch_of(classes, 6, dtype=torch.float64 if kind == "float64" else torch.float32)
    options = {"variant": variant, "features": features, "feature_seed": 3, "assign": "mass", "each": 6}
    targets, masses = labels, F.one_hot(labels, classes).double().numpy()
    if kind == "mixed":
        targets = mixture(labels, classes, 0.1)
        masses = mixture(labels, classes, 0.0, dtype=torch.float64).numpy()
    weighting = after(rows, targets, 40, 0.1 if kind == "mixed" else 0.0, **options)
    columns = weighting._columns.tolist()
    assert len(set(columns)) == features
    radii = []
    for i in range(classes):
        counted = masses[:, i] > 0
        radii.append(radius_of(rows[counted], masses[counted, i], i, columns, variant))
    near = 2e-5 if kind == "mixed" else 1e-6
    np.testing.assert_allclose(weighting.log_radius64.numpy(), radii, rtol=0, atol=near)
    if kind != "mixed":
        np.testing.assert_allclose(weighting.weights.numpy(), weights_of(radii, [6] * classes), rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_radius_is_unbiased_over_the_seeds(variant):
    classes, seeds = 30, 300
    epoch, options = epoch_of(classes, 5), {"size": 150, "each": 5, "variant": variant}
    full = after(*epoch, **options).log_radius64
    found = [after(*epoch, features=4, feature_seed=seed, **options).log_radius64 for seed in range(seeds)]
    found = torch.stack(found)
    error = found.std(0) / math.sqrt(seeds)
    assert float((error > 0).float().mean()) == 1
    assert float(((found.mean(0) - full) / error).abs().max()) < 4
    assert float(((found.mean(0) - full) / error).square().mean()) < 2


def test_the_columns_follow_from_the_seed_alone():
    def columns(classes=500, **options):
        return ClassVolume([5] * classes, features=40, **options)._columns.tolist()

    first = columns()
    torch.manual_seed(1)
    assert columns(variant="bv") == first == columns(draws=[1] * 500)
    with default_dtype(torch.float64):
        assert columns() == first
    assert columns(feature_seed=1) != first
    before = torch.get_rng_state()
    columns()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_logits_that_the_statistics_are_taken_of_must_be_finite(variant):
    rows, labels = epoch_of(9, 6)
    options = {"each": 6, "variant": variant, "features": 4}
    spoiled, clean = rows.clone(), after(rows, labels, **options)
    sampled = clean._columns.tolist()
    for row in range(20):
        spare = [j for j in range(9) if j not in sampled and j != labels[row]]
        spoiled[row, spare] = -math.inf
    weighting = after(spoiled, labels, **options)
    assert weighting.skipped == 0
    assert torch.equal(weighting.weights, clean.weights)
    spoiled[0, sampled[1]] = math.nan
    assert after(spoiled, labels, **options).skipped == 1
    if variant == "bv":
        spoiled[1, labels[1]] = math.inf
        assert after(spoiled, labels, **options).skipped == 2


@pytest.fixture
def threads():
    """Four of them, as torch takes by itself on a larger machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("features", "batch"), [(256, 129), (512, 65), (512, 128)])
def test_large_batches_on_many_threads_give_the_radii_of_a_loop(threads, variant, features, batch):
    labels, wrong = torch.arange(batch) % 3, []
    for seed in range(20):
        rows = 2 * normal(batch, 600, seed=seed)
        weighting = ClassVolume([20] * 600, variant=variant, features=features)
        weighting.observe(rows, labels)
        own = rows[labels == 0]
        radius = radius_of(own, np.ones(len(own)), 0, weighting._columns.tolist(), variant)
        wrong.append(abs(float(weighting._moments.log_radius()[0]) - radius))
    assert max(wrong) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mixed", [False, True])
def test_batches_of_one_sample_count_as_those_of_many(variant, mixed):
    rows, labels = epoch_of(5, 4)
    targets = mixture(labels, 5, 0.0, 0.75) if mixed else labels
    one, many = (after(rows, targets, size, variant=variant, features=3, assign="mass") for size in (1, 20))
    np.testing.assert_allclose(one.log_radius64.numpy(), many.log_radius64.numpy(), rtol=0, atol=1e-9)
