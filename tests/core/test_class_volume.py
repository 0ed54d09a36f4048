"""Class volume: radii and weights against float64 loops over samples held in memory; what is left out and said."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from epochs import normal
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import log_radius_of, projection, weights_of

from vlltr_plugin import ClassVolume
from vlltr_plugin.core.batch import batch_of


def samples_of(seed, counts, ratio=3.0, scale=1.0):
    """Float32 logits of every class: own mean (ratio times sigma away from 0) and own sigma in each feature."""
    rng = np.random.default_rng(seed)
    classes = len(counts)
    rows, labels = [], []
    for label, n in enumerate(counts):
        sigma = scale * rng.uniform(0.5, 2.0, classes)
        mean = ratio * sigma * rng.choice([-1.0, 1.0], classes)
        rows.append((mean + sigma * rng.standard_normal((n, classes))).astype(np.float32))
        labels += [label] * n
    return np.concatenate(rows), np.array(labels)


def stream(weighting, rows, labels, order=None, cuts=()):
    order = np.arange(len(labels)) if order is None else order
    for part in np.split(order, sorted(cuts)):
        weighting.observe(torch.from_numpy(rows[part]), torch.from_numpy(labels[part]))
    weighting.end_epoch()
    return weighting.weights.double().numpy()


def principal_radius(rows, axes):
    variances = np.linalg.eigvalsh(np.cov(rows.astype(np.float64), rowvar=False))
    return 0.5 * np.log(np.sort(variances)[::-1][:axes]).mean()


RADII = {
    "dv": lambda rows, label, axes: log_radius_of(rows, np.ones(len(rows))),
    "bv": lambda rows, label, axes: log_radius_of(rows @ projection(rows.shape[1], label).T, np.ones(len(rows))),
    "pv": lambda rows, label, axes: principal_radius(rows, axes),
}


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=8),
    axes=st.none() | st.integers(1, 6),
    ratio=st.floats(0, 100),
    variant=st.sampled_from(["dv", "bv", "pv"]),
)
@example(seed=155, counts=[2, 2, 5, 2, 2, 2], axes=None, ratio=11.0, variant="bv")
# differences of raw logits in float32 sums would round at 1e-5 of sigma; at C = 400 some class would lose its volume
@example(seed=0, counts=[2] * 130, axes=None, ratio=100.0, variant="bv")
@example(seed=5, counts=[1280, 320, 20, 2], axes=None, ratio=100.0, variant="dv")
def test_weights_equal_a_float64_loop(seed, counts, axes, ratio, variant):
    axes = min(axes, len(counts)) if axes and variant == "pv" else None
    counts = [20 + n for n in counts] if variant == "pv" else counts  # more than axes
    rows, labels = samples_of(seed, counts, ratio)
    radii = [RADII[variant](rows[labels == i].astype(np.float64), i, axes) for i in range(len(counts))]
    weighting = ClassVolume(counts, variant=variant, axes=axes)
    weights = stream(weighting, rows, labels, cuts=[len(labels) // 5, len(labels) // 2])
    np.testing.assert_allclose(weights, weights_of(radii, counts), rtol=1e-5)


def test_pv_gives_no_volume_to_a_class_with_too_few_samples_for_its_axes():
    weighting = ClassVolume([40, 40, 3, 40], variant="pv")
    stream(weighting, *samples_of(0, [40, 40, 3, 40]))
    assert weighting.substituted.tolist() == [False, False, True, False]


def test_pv_is_refused_where_the_covariances_do_not_fit():
    with pytest.raises(ValueError, match=r"8,000,000,000 bytes.*use variant='dv'"):
        ClassVolume([10] * 1000, variant="pv")
    ClassVolume([10] * 20, variant="pv", memory_limit=8 * 20**3)
    with pytest.raises(ValueError, match="memory_limit"):
        ClassVolume([10] * 20, variant="pv", memory_limit=8 * 20**3 - 1)
    for variant in ("dv", "bv", "pv"):
        with pytest.raises(ValueError, match="memory_limit to be a number"):
            ClassVolume([10] * 20, variant=variant, memory_limit="1 GiB")


@pytest.mark.parametrize("variant", ["dv", "bv"])
@pytest.mark.parametrize(("classes", "features"), [(150, None), (1000, 64), (300, 256), (2000, 130)])
def test_the_state_takes_12_bytes_for_each_class_and_feature_whatever_the_samples(variant, classes, features):
    weighting = ClassVolume([100] * classes, variant=variant, features=features)
    sizes, features = [], features or classes
    for _ in range(3):
        weighting.observe(torch.randn(64, classes), torch.randint(classes, (64,)))
        sizes.append(sum(t.nbytes for t in vars(weighting._moments).values() if isinstance(t, torch.Tensor)))
    assert sizes[0] == sizes[2] <= 12 * classes * (features + 1) + 16 * classes + 8 * features
    assert sizes[0] >= 12 * classes * features


@pytest.mark.parametrize("ratio", [(3.0, 1e-6), (100.0, 5e-6)])
@pytest.mark.parametrize("classes", [2, 3, 130])
@pytest.mark.parametrize("variant", ["dv", "bv"])
def test_order_and_split_do_not_matter_for_1280_samples(ratio, classes, variant):
    counts = [1280] * min(classes, 4) + [2] * (classes - 4)
    for seed in range(3):
        rows, labels = samples_of(seed, counts, ratio[0])
        order = np.random.default_rng(seed).permutation(len(labels))
        one = stream(ClassVolume(counts, variant=variant), rows, labels)
        other = stream(ClassVolume(counts, variant=variant), rows, labels, order, range(128, len(labels), 128))
        np.testing.assert_allclose(other, one, rtol=ratio[1])


def test_tiny_sigmas_of_8142_logits_do_not_underflow():
    classes = 8142
    weighting = ClassVolume([100] * classes)
    rows = 5.0 + 1e-3 * normal(16, classes)
    rows[8:] *= 4.0
    weighting.observe(rows, torch.tensor([0] * 8 + [1] * 8))
    weighting.end_epoch()
    expected = [log_radius_of(part.numpy(), np.ones(8)) for part in rows.split(8)]
    np.testing.assert_allclose(weighting.log_radius[:2].numpy(), expected, rtol=1e-5)
    assert math.exp(expected[0]) < 2e-3
    assert bool(weighting.weights.isfinite().all())


def test_classes_with_one_none_or_identical_samples_take_the_mean_log_radius():
    rows, labels = samples_of(1, [30, 30, 0, 0, 1])
    same = np.repeat(rows[:1], 5, axis=0)
    weighting = ClassVolume([30, 30, 5, 5, 1])
    stream(weighting, np.concatenate([rows, same]), np.concatenate([labels, [3] * 5]))
    assert weighting.substituted.tolist() == [False, False, True, True, True]
    torch.testing.assert_close(weighting.log_radius[2:], weighting.log_radius[:2].mean().expand(3))


def test_small_classes_are_judged_by_images_even_when_drawn_often():
    weighting = ClassVolume([50, 50, 1], draws=[50, 50, 50])
    stream(weighting, *samples_of(2, [50, 50, 50]))
    assert weighting.substituted.tolist() == [False, False, True]


def test_more_draws_than_images_count_as_those_images():
    rows, labels = samples_of(3, [40, 40, 40])
    counts, draws = [400, 40, 4], [60, 40, 20]
    radii = [log_radius_of(rows[labels == i], np.ones(40)) for i in range(3)]
    radii[2] += math.log(39 / (40 - 40 / 4)) / 2
    weights = stream(ClassVolume(counts, draws), rows, labels)
    np.testing.assert_allclose(weights, weights_of(radii, counts, draws, mass=[40] * 3), rtol=1e-5)


@pytest.mark.parametrize("fault", ["label", "mixture"])
def test_faulty_rows_on_a_gpu_do_not_count_and_raise_at_the_end_of_the_epoch(fault):
    """On a GPU nothing is read back in a step; this is the half of `observe` that runs there."""
    weighting = ClassVolume([20] * 3)
    labels, mixtures = torch.arange(3), torch.eye(3)
    mixtures[1] = 1 / 3
    batch = batch_of(torch.randn(3, 3), labels if fault == "label" else mixtures, 3)
    faulty = replace(batch, targets=torch.tensor([0, 3, 2])) if fault == "label" else batch
    weighting.observe_batch(replace(faulty, cheap=False))
    assert weighting._moments.mass.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"1 are out of range" if fault == "label" else "1 are not"):
        weighting.end_epoch()


def test_masses_just_short_of_a_sample_by_rounding_count():
    weighting = ClassVolume([2, 2], assign="mass")
    third = torch.tensor([[1 / 3, 2 / 3], [1 / 3, 2 / 3], [1 / 3, 2 / 3]], dtype=torch.float16)
    for _ in range(2):
        weighting.observe(torch.randn(3, 2), third)
    weighting.end_epoch()
    assert float(third.float().sum(0)[0]) * 2 < 2
    assert weighting.substituted.tolist() == [False, False]


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-5), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_logits_of_other_precision_are_accumulated_in_float32(dtype, rtol):
    rows, labels = samples_of(6, [50, 50, 50])
    exact = stream(ClassVolume([50] * 3), rows, labels)
    weighting = ClassVolume([50] * 3)
    weighting.observe(torch.from_numpy(rows).to(dtype), torch.from_numpy(labels))
    weighting.end_epoch()
    assert weighting.weights.dtype == torch.float32
    np.testing.assert_allclose(weighting.weights.numpy(), exact, rtol=rtol)


@pytest.mark.filterwarnings("ignore:.*no samples")
@pytest.mark.parametrize("classes", [5, 130])
@pytest.mark.parametrize("variant", ["dv", "bv"])
@pytest.mark.parametrize("soft", [False, True])
def test_float64_logits_keep_their_digits_until_the_pivot_is_off(classes, variant, soft):
    rows = 1e6 + 0.05 * np.random.default_rng(0).standard_normal((400, classes))
    labels = np.arange(400) % 2
    weighting = ClassVolume([200, 200] + [0] * (classes - 2), variant=variant)
    targets = torch.from_numpy(labels)
    targets = F.one_hot(targets, classes).double() if soft else targets
    for part in np.split(np.arange(400), [1, 7, 150]):
        weighting.observe(torch.from_numpy(rows[part]), targets[part])
    weighting.end_epoch()
    expected = [RADII[variant](rows[labels == label], label, None) for label in range(2)]
    assert weighting.log_radius64[:2].tolist() == pytest.approx(expected, abs=1e-6)


def test_float64_rows_beyond_float32_are_left_out_also_where_they_sum_to_nothing():
    weighting = ClassVolume([20] * 3)
    rows = torch.randn(60, 3, dtype=torch.float64)
    rows[0] = torch.tensor([1e200, -1e200, 0.0])
    weighting.observe(rows, torch.arange(60) % 3)
    weighting.end_epoch()
    assert weighting.skipped == 1
    assert bool(weighting.weights.isfinite().all())


def test_a_short_axis_is_measured_beside_one_ten_thousand_times_longer():
    """Float32 sums, or float32 covariances, would drown it."""
    rows, labels = normal(600, 2, dtype=torch.float64), torch.arange(600) % 2
    rows[:, 1] *= torch.where(labels == 0, 1e-4, 1.0)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    weighting = ClassVolume([300, 300], variant="pv")
    for part in torch.arange(600).split(50):
        weighting.observe((rows @ turn)[part], labels[part])
    weighting.end_epoch()
    for label in range(2):
        own = rows[labels == label]
        expected = 0.5 * torch.linalg.svdvals(own - own.mean(0)).square().div(299).log().mean()
        assert float(weighting.log_radius64[label]) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("mass", [[300, 300], [3, 2]])
def test_pv_of_logits_of_low_rank_says_how_many_axes_there_are(mass):
    classes, features = 10, 4
    labels = torch.cat([torch.full((n,), i) for i, n in enumerate(mass)])
    rows = normal(len(labels), features) @ normal(features, classes, seed=1)
    spanned = min(features, max(mass) - 1)
    weighting, fewer = (ClassVolume([300] * classes, variant="pv", axes=axes) for axes in (None, spanned))
    weighting.observe(rows, labels)
    with pytest.warns(UserWarning, match=rf"{spanned} at most.*give axes={spanned} or fewer.*weights stay"):
        weighting.end_epoch()
    assert not weighting.has_radii
    fewer.observe(rows, labels)
    fewer.end_epoch()
    assert fewer.has_radii
