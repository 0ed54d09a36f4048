"""Mixed and smoothed targets: statistics against loops over their constituents, and what is refused."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from epochs import end_epochs
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import log_radius_of, weights_of

from vlltr_plugin import ClassVolume, ReweightedLoss


def mixed_batch(seed, batch, classes, smoothing, lam=None, dtype=torch.float32):
    """Labels, their flipped partners, the share of the first and the smoothed soft targets."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(classes, (batch,), generator=generator)
    drawn = torch.rand(batch, generator=generator, dtype=torch.float64)
    lam = drawn if lam is None else torch.full_like(drawn, lam)
    second = first.flip(0)
    mass = lam[:, None] * F.one_hot(first, classes) + (1 - lam[:, None]) * F.one_hot(second, classes)
    targets = (1 - smoothing) * mass + smoothing / classes
    logits = 3 * torch.randn(batch, classes, generator=generator)
    return logits, first, second, lam, targets.to(dtype)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), classes=st.integers(3, 6), smoothing=st.sampled_from([0.0, 0.1]), bv=st.booleans())
def test_mass_weighted_statistics_equal_a_float64_loop(seed, classes, smoothing, bv):
    counts = [100] * classes
    weighting = ClassVolume(counts, variant="bv" if bv else "dv", assign="mass")
    rows: list[list[np.ndarray]] = [[] for _ in counts]
    masses: list[list[float]] = [[] for _ in counts]
    for step in range(6):
        logits, first, second, lam, targets = mixed_batch(seed + step, 20, classes, smoothing)
        weighting.observe(logits, targets, smoothing=smoothing)
        for row, a, b, w in zip(logits.double().numpy(), first, second, lam.numpy(), strict=True):
            parts = [(int(a), 1.0)] if a == b else [(int(a), w), (int(b), 1 - w)]
            for label, mass in parts:
                if mass >= 1e-3:
                    rows[label].append(np.delete(row[label] - row, label) if bv else row)
                    masses[label].append(mass)
    weighting.end_epoch()
    radii = [log_radius_of(np.array(r), np.array(w)) for r, w in zip(rows, masses, strict=True)]
    expected = weights_of(radii, counts, mass=[sum(w) for w in masses])
    np.testing.assert_allclose(weighting.weights.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(("assign", "lam"), [("dominant", 0.7), ("dominant", 1.0), ("mass", 1.0)])
def test_the_heavier_label_counts_as_one_hard_label(assign, lam):
    soft, hard = ClassVolume([50] * 10, assign=assign), ClassVolume([50] * 10)
    for seed in range(8):
        logits, first, _, _, targets = mixed_batch(seed, 64, 10, 0.1, lam)
        soft.observe(logits, targets, smoothing=0.1)
        hard.observe(logits, first)
    end_epochs(soft, hard)
    torch.testing.assert_close(soft.weights, hard.weights, rtol=1e-6, atol=0)


def test_float16_rounding_of_targets_counts_for_no_class():
    logits, first, _, _, targets = mixed_batch(4, 64, 1000, 0.1, lam=1.0, dtype=torch.float16)
    weighting = ClassVolume([50] * 1000, assign="mass")
    weighting.observe(logits, targets, smoothing=0.1)
    assert set(weighting._moments.mass.nonzero().flatten().tolist()) == set(first.tolist())


@pytest.mark.parametrize(
    "spoil",
    [lambda t: 5 * t, lambda t: -t, lambda t: t * math.nan, lambda t: torch.full_like(t, 1 / t.shape[1])],
    ids=["sum 5", "negative", "nan", "more than two labels"],
)
def test_soft_targets_that_are_no_mixture_of_two_labels_are_refused_in_any_batch(spoil):
    logits, *_, targets = mixed_batch(8, 16, 10, 0.0)
    weighting = ClassVolume([5] * 10)
    weighting.observe(logits, targets)
    mass = weighting._moments.mass.clone()
    with pytest.raises(ValueError, match="mixtures of at most two labels"):
        weighting.observe(logits, spoil(targets))
    assert torch.equal(weighting._moments.mass, mass)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounded_soft_targets_of_half_precision_are_accepted(dtype):
    for seed in range(50):
        logits, *_, targets = mixed_batch(seed, 32, 10, 0.1, dtype=dtype)
        ReweightedLoss(ClassVolume([5] * 10), smoothing=0.1)(logits.requires_grad_(), targets)


@pytest.mark.parametrize(
    ("smoothing", "scale", "said"),
    [(0.0, 1, r"smoothed by 0 but they show 0\.1"), (0.1, 2, r"sum to 1.*softmax\(dim=1\)")],
)
def test_soft_targets_of_another_smoothing_or_sum_are_refused(smoothing, scale, said):
    logits, *_, targets = mixed_batch(7, 16, 10, 0.1)
    with pytest.raises(ValueError, match=said):
        ReweightedLoss(ClassVolume([5] * 10), smoothing=smoothing)(logits.requires_grad_(), scale * targets)
