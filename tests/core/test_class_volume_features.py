"""Class volume of a random sample of the logits (`features`)."""

import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import log_radius_of, observed, weights_of

from vlltr_plugin import ClassVolume, build_weighting

VARIANTS = ("dv", "bv")


def epoch_of(classes, each, seed=0, dtype=torch.float32):
    """Logits whose columns and classes have spreads of their own, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)[torch.randperm(classes * each, generator=generator)]
    spread = torch.rand(classes, classes, generator=generator) + 0.2
    rows = 20 + torch.randn(len(labels), classes, generator=generator) * spread[labels]
    return rows.to(dtype), labels


def after(weighting, rows, targets, size=50):
    for part in torch.arange(len(rows)).split(size):
        weighting.observe(rows[part], targets[part])
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
def test_all_features_are_the_full_statistics(variant, classes):
    epoch = epoch_of(classes, 4)
    full = after(ClassVolume([4] * classes, variant=variant), *epoch)
    sampled = after(ClassVolume([4] * classes, variant=variant, features=classes), *epoch)
    assert torch.equal(sampled.log_radius64, full.log_radius64)
    assert torch.equal(sampled.weights, full.weights)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("classes", "features"), [(7, 3), (140, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radii_are_those_of_a_loop_over_the_sampled_columns(variant, classes, features, dtype):
    rows, labels = epoch_of(classes, 6, dtype=dtype)
    weighting = after(ClassVolume([6] * classes, variant=variant, features=features, feature_seed=3), rows, labels)
    columns = weighting._columns.tolist()
    assert len(set(columns)) == features
    radii = [radius_of(rows[labels == i], np.ones(6), i, columns, variant) for i in range(classes)]
    np.testing.assert_allclose(weighting.log_radius64.numpy(), radii, rtol=0, atol=1e-6)
    np.testing.assert_allclose(weighting.weights.numpy(), weights_of(radii, [6] * classes), rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("classes", [7, 140])
def test_mixed_samples_count_by_mass_for_both_labels(variant, classes):
    rows, labels = epoch_of(classes, 8)
    hard = F.one_hot(labels, classes).float()
    targets = 0.9 * (0.7 * hard + 0.3 * hard.flip(0)) + 0.1 / classes
    weighting = ClassVolume([8] * classes, variant=variant, features=5, assign="mass")
    for part in torch.arange(len(rows)).split(40):
        weighting.observe(rows[part], targets[part], smoothing=0.1)
    weighting.end_epoch()
    masses = (0.7 * hard + 0.3 * hard.flip(0)).double().numpy()
    for i in range(classes):
        counted = masses[:, i] > 0
        expected = radius_of(rows[counted], masses[counted, i], i, weighting._columns.tolist(), variant)
        assert float(weighting.log_radius64[i]) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_radius_is_unbiased_over_the_seeds(variant):
    classes, seeds = 30, 300
    epoch = epoch_of(classes, 5)
    full = after(ClassVolume([5] * classes, variant=variant), *epoch).log_radius64
    found = torch.stack(
        [
            after(
                ClassVolume([5] * classes, variant=variant, features=4, feature_seed=seed), *epoch, size=150
            ).log_radius64
            for seed in range(seeds)
        ]
    )
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
    torch.set_default_dtype(torch.float64)
    try:
        assert columns() == first
    finally:
        torch.set_default_dtype(torch.float32)
    assert columns(feature_seed=1) != first
    before = torch.get_rng_state()
    columns()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("classes", "features"), [(1000, 64), (300, 256), (2000, 130)])
def test_the_state_takes_12_bytes_for_each_class_and_feature(variant, classes, features):
    weighting = ClassVolume([5] * classes, variant=variant, features=features)
    weighting.observe(torch.randn(8, classes), torch.arange(8))
    size = sum(value.nbytes for value in vars(weighting._moments).values() if isinstance(value, torch.Tensor))
    assert size <= 12 * classes * (features + 1) + 16 * classes + 8 * features
    assert size >= 12 * classes * features


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_logits_that_the_statistics_are_taken_of_must_be_finite(variant):
    rows, labels = epoch_of(9, 6)
    spoiled = rows.clone()
    clean = after(ClassVolume([6] * 9, variant=variant, features=4), rows, labels)
    sampled = clean._columns.tolist()
    for row in range(20):
        spare = [j for j in range(9) if j not in sampled and j != labels[row]]
        spoiled[row, spare] = -math.inf
    weighting = after(ClassVolume([6] * 9, variant=variant, features=4), spoiled, labels)
    assert weighting.skipped == 0
    assert torch.equal(weighting.weights, clean.weights)
    spoiled[0, sampled[1]] = math.nan
    assert after(ClassVolume([6] * 9, variant=variant, features=4), spoiled, labels).skipped == 1
    if variant == "bv":
        spoiled[1, labels[1]] = math.inf
        assert after(ClassVolume([6] * 9, variant=variant, features=4), spoiled, labels).skipped == 2


def test_a_state_resumes_and_one_of_another_sample_is_refused():
    made = observed(ClassVolume([50] * 9, features=4, feature_seed=2), epochs=2)
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = ClassVolume([50] * 9, features=4, feature_seed=2)
    resumed.load_state_dict(state)
    assert torch.equal(observed(resumed, 7).weights, observed(copy.deepcopy(made), 7).weights)
    for other in ({}, {"features": 5, "feature_seed": 2}, {"features": 4}):
        with pytest.raises(ValueError, match="feature"):
            ClassVolume([50] * 9, **other).load_state_dict(state)
    with pytest.raises(ValueError, match="features: saved None, here 4"):
        ClassVolume([50] * 9, features=4).load_state_dict(ClassVolume([50] * 9).state_dict())


def test_a_config_names_it():
    weighting = build_weighting("class_volume", [9] * 8, features=3, feature_seed=1)
    assert weighting.settings()["features"] == 3
    assert "features=3, feature_seed=1" in repr(weighting)
    assert "features" not in repr(ClassVolume([9] * 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 9}, "at most the 8 classes but got 9"),
        ({"features": 0}, "features to be a whole number, 1 or more"),
        ({"features": 3.0}, "features to be a whole number"),
        ({"features": True}, "features to be a whole number"),
        ({"features": 1, "variant": "bv"}, "features to be a whole number, 2 or more"),
        ({"features": 3, "variant": "pv"}, "features with variant 'dv' or 'bv' only"),
        ({"features": 3, "feature_seed": -1}, "feature_seed"),
        ({"features": 3, "feature_seed": "x"}, "feature_seed"),
    ],
)
def test_samples_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassVolume([9] * 8, **options)


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
    classes, seen, each = 600, 3, 20
    generator = torch.Generator().manual_seed(0)
    wrong = []
    for _ in range(each):
        rows = 2 * torch.randn(batch, classes, generator=generator)
        labels = torch.arange(batch) % seen
        weighting = ClassVolume([each] * classes, variant=variant, features=features)
        weighting.observe(rows, labels)
        columns = weighting._columns.tolist()
        whole = np.ones(int((labels == 0).sum()))
        radius = radius_of(rows[labels == 0], whole, 0, columns, variant)
        wrong.append(abs(float(weighting._moments.mean_log_sigma()[0]) - radius))
    assert max(wrong) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mixed", [False, True])
def test_batches_of_one_sample_count_as_those_of_many(variant, mixed):
    rows, labels = epoch_of(5, 4)
    targets = 0.75 * F.one_hot(labels, 5).float() + 0.25 * F.one_hot(labels.flip(0), 5) if mixed else labels
    options = {"variant": variant, "features": 3, "assign": "mass"}
    one, many = (after(ClassVolume([4] * 5, **options), rows, targets, size) for size in (1, 20))
    np.testing.assert_allclose(one.log_radius64.numpy(), many.log_radius64.numpy(), rtol=0, atol=1e-9)
