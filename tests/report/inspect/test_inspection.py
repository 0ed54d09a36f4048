"""The numbers of an inspection against naive loops."""

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from run_arrays import COUNTS, DRAWS, Write, epoch_arrays, one
from scipy.stats import spearmanr

from vlltr_plugin import ClassVolume
from vlltr_plugin.report.inspect import Inspection, findings
from vlltr_plugin.report.inspect.size_relation import rank_correlation
from vlltr_plugin.training.hook import arrays_of


def test_groups_are_the_naive_loops(run: Path) -> None:
    found = one(run)
    with np.load(run / "reweight/epoch_0003.npz") as arrays:
        alpha, log_radius, substituted = (
            arrays[f"{key}_image_text"].tolist() for key in ("weights", "log_radius", "substituted")
        )
    bounds = {"many": (100, 10**9), "medium": (21, 99), "few": (1, 20)}
    total = sum(DRAWS)
    weighted = sum(m * a for m, a in zip(DRAWS, alpha, strict=True))
    for summary in found.summaries:
        least, most = bounds[summary.name]
        members = [c for c, n in enumerate(COUNTS) if least <= n <= most]
        own = sorted(log_radius[c] for c in members if not substituted[c])
        middle = (own[(len(own) - 1) // 2] + own[len(own) // 2]) / 2
        weights = sorted(alpha[c] for c in members)
        median = (weights[(len(weights) - 1) // 2] + weights[len(weights) // 2]) / 2
        assert summary.classes == len(members)
        assert summary.images == (min(COUNTS[members]), max(COUNTS[members]))
        assert summary.weights == pytest.approx((weights[0], median, weights[-1]))
        assert summary.radius == pytest.approx(math.exp(middle))
        assert summary.substituted == sum(substituted[c] for c in members)
        assert summary.share_of_draws == pytest.approx(sum(DRAWS[c] for c in members) / total)
        assert summary.share_of_weight == pytest.approx(sum(DRAWS[c] * alpha[c] for c in members) / weighted)


def test_correlation_and_spreads_leave_out_what_they_should(run: Path) -> None:
    found = one(run)
    own = (COUNTS >= 3).nonzero()[0]
    present = COUNTS > 0
    assert found.size.measured == pytest.approx(spearmanr(found.radii[own], COUNTS[own]).statistic)
    assert found.size.measured < -0.9
    assert found.weight_correlation == pytest.approx(spearmanr(found.weights[present], COUNTS[present]).statistic)
    of_draws = (found.weights * DRAWS)[present]
    assert found.weight_times_draws.whole == pytest.approx(of_draws.max() / of_draws.min())
    assert found.weight_times_draws.whole == pytest.approx(found.radius_spread.whole, rel=1e-6)
    of_images = np.sort((found.weights * COUNTS)[present])
    low, high = (np.interp(q * (len(of_images) - 1), range(len(of_images)), of_images) for q in (0.1, 0.9))
    assert found.weight_times_images.middle == pytest.approx(high / low)


def test_extremes_are_of_radii_of_their_own(run: Path) -> None:
    found = one(run)
    largest, smallest = found.extremes(3)
    candidates = sorted((c for c in range(len(COUNTS)) if COUNTS[c] >= 3), key=lambda c: found.radii[c])
    assert smallest == candidates[:3]
    assert largest == candidates[::-1][:3]
    assert not set(found.extremes(100)[0]) & set(found.extremes(100)[1])


def test_series_hold_every_epochs_quantiles(run: Path) -> None:
    found = one(run)
    series = found.series
    assert series.epochs == [0, 1, 2, 3]
    for number in range(4):
        at = one(run, number)
        assert series.corrected[number] == at.size.corrected
        few = at.weights[(COUNTS > 0) & (COUNTS <= 20)]
        assert series.weights["few"][number] == pytest.approx(np.quantile(few, [0.1, 0.5, 0.9]))
        own = at.radii[(COUNTS >= 3) & (COUNTS <= 20)]
        assert series.radii["few"][number] == pytest.approx(np.quantile(own, [0.1, 0.5, 0.9]))


def test_ranks_share_ties_as_scipys_do() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 5, 30), rng.standard_normal(30)
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(rank_correlation([1, 2], [1, 2]))


def said(inspection: Inspection) -> tuple[str, ...]:
    return tuple(findings(inspection, None))


def test_findings_follow_the_sign_and_the_chance_level(write: Write) -> None:
    rng = np.random.default_rng(0)
    falling = write(epoch_arrays(rng), epoch_arrays(rng), name="falling")
    rising = write(epoch_arrays(rng, slope=0.2), epoch_arrays(rng, slope=0.2), name="rising")
    assert "tend to have larger radii" in said(one(falling))[0]
    assert "tend to have smaller radii, against the paper" in said(one(rising))[0]
    none = epoch_arrays(rng)
    none["log_radius_image_text"] = np.array([0, 3, 1, 4, 1.5, 5, 9, 2, 6, 0, 0, 0])
    unrelated = write(epoch_arrays(rng), none, name="none")
    assert "No relation beyond chance" in said(one(unrelated))[0]
    assert any("2 classes with too few samples" in sentence for sentence in said(one(falling)))
    assert any("1 classes have no training images" in sentence for sentence in said(one(falling)))


def test_weights_from_counts_alone_are_called_so(write: Write) -> None:
    rng = np.random.default_rng(0)
    constant = epoch_arrays(rng, log_radius_image_text=np.zeros(12), substituted_image_text=np.zeros(12, dtype=bool))
    inverse = np.where(COUNTS > 0, 3 / np.maximum(DRAWS, 1), 1).astype(np.float32)
    by_draws = write(*[{**constant, "weights_image_text": inverse}] * 2, name="draws")
    assert "just 1/m" in said(one(by_draws))[1]
    assert not any("How much of the weights comes from the volume" in sentence for sentence in said(one(by_draws)))
    assert "Unknown" in said(one(by_draws))[0]
    inverse = np.where(COUNTS > 0, 3 / np.maximum(COUNTS, 1), 1).astype(np.float32)
    by_images = write(*[{**constant, "weights_image_text": inverse}] * 2, name="images")
    assert "Yes: alpha * n is the same" in said(one(by_images))[1]
    fixed = {**constant, "samples_image_text": np.zeros(12)}
    assert "never change" in said(one(write(fixed, fixed, name="fixed")))[0]
    ones = epoch_arrays(rng, weights_image_text=np.ones(12, dtype=np.float32))
    assert "All weights are 1" in said(one(write(ones, name="ones")))[1]


def test_the_radii_and_the_sampler_are_told_apart(write: Write) -> None:
    """Naive loops over log alpha = log r - log c of a run whose radii are known."""
    rng = np.random.default_rng(4)
    log_radius = 0.1 * rng.standard_normal(12)
    present = [c for c in range(12) if COUNTS[c]]
    for reading, divisor in (("draws", DRAWS), ("images", COUNTS)):
        weights = [math.exp(log_radius[c]) / divisor[c] if COUNTS[c] else 1.0 for c in range(12)]
        total = sum(DRAWS[c] * weights[c] for c in present)
        weights = [w * sum(DRAWS) / total if COUNTS[c] else 1.0 for c, w in enumerate(weights)]
        measured = log_radius + 0.01 * rng.standard_normal(12)  # the radii of this epoch are not quite those in force
        arrays = epoch_arrays(
            rng,
            log_radius_image_text=measured,
            substituted_image_text=np.zeros(12, bool),
            weights_image_text=np.array(weights),
        )
        found = one(write(arrays, arrays, name=reading))
        parts = found.parts
        assert parts.by_draws == (reading == "draws")
        radii = [math.exp(log_radius[c]) for c in present]
        assert parts.radii.whole == pytest.approx(max(radii) / min(radii), rel=1e-6)
        assert parts.radii.middle == pytest.approx(np.quantile(radii, 0.9) / np.quantile(radii, 0.1), rel=1e-6)
        ratio = [COUNTS[c] / DRAWS[c] for c in present]
        assert parts.sampler.whole == pytest.approx(max(ratio) / min(ratio))
        log_alpha = [math.log(weights[c]) for c in present]
        mean = sum(log_alpha) / len(present)
        variance = sum((a - mean) ** 2 for a in log_alpha) / len(present)
        mean_r = sum(log_radius[present]) / len(present)
        pairs = zip(present, log_alpha, strict=True)
        covariance = sum((log_radius[c] - mean_r) * (a - mean) for c, a in pairs) / len(present)
        assert parts.share == pytest.approx(covariance / variance, abs=1e-6)
        assert parts.spread_of_log == pytest.approx(variance**0.5, rel=1e-6)
        assert parts.spread_without == pytest.approx(np.std([math.log(divisor[c]) for c in present]))
        equal = [1 / divisor[c] for c in present]
        scale = sum(DRAWS) / sum(DRAWS[c] * e for c, e in zip(present, equal, strict=True))
        assert parts.with_equal_radii[present] == pytest.approx([scale * e for e in equal])
        text = said(found)[1]
        assert f"The radii vary by a factor of {parts.radii.middle:.3g} ({parts.radii.whole:.3g})" in text
        assert (f"by {parts.sampler.middle:.3g} ({parts.sampler.whole:.3g}), which has nothing to do" in text) == (
            reading == "draws"
        )
        assert f"The radii explain {100 * parts.share:.1f} % of the variance of log alpha" in said(found)[2]


def test_radii_against_the_counts_are_said_in_words_not_as_a_negative_share(write: Write) -> None:
    """Large classes with large radii: the weights are closer together than those of the counts alone."""
    found = one(write(epoch_arrays(np.random.default_rng(0), slope=0.2)))
    assert found.parts.share < 0
    assert found.parts.spread_of_log < found.parts.spread_without
    assert "The radii work against the class counts" in said(found)[2]
    assert f"would be {found.parts.spread_without:.3f} instead of {found.parts.spread_of_log:.3f}" in said(found)[2]
    assert "-" not in said(found)[2].replace("large 1/n", "")


def test_a_share_that_rounds_to_zero_has_no_sign(write: Write) -> None:
    found = one(write(epoch_arrays(np.random.default_rng(0))))
    found = dataclasses.replace(found, parts=dataclasses.replace(found.parts, share=-0.0003))
    assert "The radii explain 0.0 % of" in said(found)[2]


def test_where_nothing_was_measured_no_class_has_a_radius_of_its_own(write: Write) -> None:
    counts = torch.tensor([40, 30, 20])
    weighting = ClassVolume(counts, min_samples=1000)
    weighting.observe(torch.randn(90, 3), torch.repeat_interleave(torch.arange(3), counts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so, too
        before = weighting.weights.clone()
        weighting.end_epoch()
    arrays = arrays_of("logits", weighting, before, weighting.weights)
    found = "\n".join(said(one(write({"counts": counts.double(), "draws": counts.double(), **arrays}))))
    assert "No class has a radius of its own in this epoch" in found
    assert "Every class" not in found
