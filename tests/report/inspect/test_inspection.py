"""The numbers of an inspection against naive loops."""

import dataclasses
import math
import statistics
import warnings

import numpy as np
import pytest
import torch
from run_arrays import COUNTS, DRAWS, epoch_arrays, one
from scipy.stats import spearmanr

from vlltr_plugin import ClassVolume
from vlltr_plugin.report.inspect import Inspection, findings
from vlltr_plugin.report.inspect.size_relation import rank_correlation
from vlltr_plugin.training.hook import arrays_of


def test_groups_are_the_naive_loops(run):
    found = one(run)
    with np.load(run / "reweight/epoch_0003.npz") as arrays:
        alpha, log_radius, substituted = (
            arrays[f"{key}_image_text"].tolist() for key in ("weights", "log_radius", "substituted")
        )
    bounds = {"many": (100, 10**9), "medium": (21, 99), "few": (1, 20)}
    weighted = [m * a for m, a in zip(DRAWS, alpha, strict=True)]
    for summary in found.summaries:
        least, most = bounds[summary.name]
        members = [c for c, n in enumerate(COUNTS) if least <= n <= most]
        own = [log_radius[c] for c in members if not substituted[c]]
        weights = [alpha[c] for c in members]
        assert summary.classes == len(members)
        assert summary.images == (min(COUNTS[members]), max(COUNTS[members]))
        assert summary.weights == pytest.approx((min(weights), statistics.median(weights), max(weights)))
        assert summary.radius == pytest.approx(math.exp(statistics.median(own)))
        assert summary.substituted == sum(substituted[c] for c in members)
        assert summary.share_of_draws == pytest.approx(sum(DRAWS[c] for c in members) / sum(DRAWS))
        assert summary.share_of_weight == pytest.approx(sum(weighted[c] for c in members) / sum(weighted))


def test_correlation_and_spreads_exclude_substituted_and_empty_classes(run):
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


def test_extremes_include_own_radii_only(run):
    found = one(run)
    largest, smallest = found.extremes(3)
    candidates = sorted((c for c in range(len(COUNTS)) if COUNTS[c] >= 3), key=lambda c: found.radii[c])
    assert smallest == candidates[:3]
    assert largest == candidates[::-1][:3]
    assert not set(found.extremes(100)[0]) & set(found.extremes(100)[1])


def test_series_hold_every_epochs_quantiles(run):
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


def test_ranks_share_ties_as_scipys_do():
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 5, 30), rng.standard_normal(30)
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(rank_correlation([1, 2], [1, 2]))


def said(inspection: Inspection):
    return tuple(findings(inspection, None))


def test_substituted_and_empty_classes_are_counted_in_the_findings(run):
    _, *others = said(one(run))
    assert any("others (2)" in sentence for sentence in others)
    assert any("without training images: 1." in sentence for sentence in others)


def test_weights_from_counts_alone_are_called_so(write):
    equal = {"log_radius_image_text": np.zeros(12), "substituted_image_text": np.zeros(12, dtype=bool)}
    by_draws, by_images = (np.where(COUNTS > 0, 3 / np.maximum(c, 1), 1).astype(np.float32) for c in (DRAWS, COUNTS))
    for name, changes, number, claim in (
        ("draws", equal | {"weights_image_text": by_draws}, 1, "just 1/m"),
        ("draws_unknown", equal | {"weights_image_text": by_draws}, 0, "Unknown"),
        ("images", equal | {"weights_image_text": by_images}, 1, "Yes: alpha * n is the same"),
        ("fixed", equal | {"samples_image_text": np.zeros(12)}, 0, "no radii"),
        ("ones", {"weights_image_text": np.ones(12, dtype=np.float32)}, 1, "All weights are 1"),
    ):
        arrays = epoch_arrays(np.random.default_rng(0), **changes)
        sentences = said(one(write(arrays, arrays, name=name)))
        assert claim in sentences[number]
        assert not any("How much of the weights comes from the volume" in sentence for sentence in sentences)


@pytest.mark.parametrize(("reading", "divisor"), [("draws", DRAWS), ("images", COUNTS)])
def test_the_parts_of_radii_and_sampler_are_those_of_a_run_whose_radii_are_known(write, reading, divisor):
    """log alpha = log r - log c, up to a constant."""
    rng = np.random.default_rng(4)
    log_radius = 0.1 * rng.standard_normal(12)
    present = COUNTS > 0
    weights = np.ones(12)
    weights[present] = np.exp(log_radius[present]) / divisor[present]
    weights[present] *= DRAWS.sum() / (DRAWS * weights)[present].sum()
    arrays = epoch_arrays(
        rng,
        log_radius_image_text=log_radius + 0.01 * rng.standard_normal(12),  # not quite those in force
        substituted_image_text=np.zeros(12, bool),
        weights_image_text=weights,
    )
    found = one(write(arrays, arrays))
    parts = found.parts
    assert parts.by_draws == (reading == "draws")
    for spread, values in (
        (parts.radii, np.exp(log_radius[present])),
        (parts.sampler, COUNTS[present] / DRAWS[present]),
    ):
        assert spread.whole == pytest.approx(values.max() / values.min(), rel=1e-6)
        assert spread.middle == pytest.approx(np.quantile(values, 0.9) / np.quantile(values, 0.1), rel=1e-6)
    log_alpha = np.log(weights[present])
    deviation = log_alpha - log_alpha.mean()
    covariance = ((log_radius[present] - log_radius[present].mean()) * deviation).mean()
    assert parts.share == pytest.approx(covariance / (deviation**2).mean(), abs=1e-6)
    assert parts.spread_of_log == pytest.approx((deviation**2).mean() ** 0.5, rel=1e-6)
    assert parts.spread_without == pytest.approx(np.std(np.log(divisor[present])))
    equal = 1 / divisor[present]
    assert parts.with_equal_radii[present] == pytest.approx(equal * DRAWS.sum() / (DRAWS[present] * equal).sum())
    text = said(found)[1]
    assert f"The radii vary by a factor of {parts.radii}" in text
    assert (f"by {parts.sampler}, which has nothing to do" in text) == (reading == "draws")
    assert f"The radii explain {100 * parts.share:.1f} % of the variance of log alpha" in said(found)[2]


def test_radii_against_the_counts_are_said_in_words_not_as_a_negative_share(write):
    """Large classes with large radii: the weights are closer together than those of the counts alone."""
    found = one(write(epoch_arrays(np.random.default_rng(0), slope=0.2)))
    assert found.parts.share < 0
    assert found.parts.spread_of_log < found.parts.spread_without
    assert "The radii work against the class counts" in said(found)[2]
    assert f"would be {found.parts.spread_without:.3f} instead of {found.parts.spread_of_log:.3f}" in said(found)[2]
    assert "-" not in said(found)[2].replace("large 1/n", "")


def test_a_share_that_rounds_to_zero_has_no_sign(write):
    found = one(write(epoch_arrays(np.random.default_rng(0))))
    found = dataclasses.replace(found, parts=dataclasses.replace(found.parts, share=-0.0003))
    assert "The radii explain 0.0 % of" in said(found)[2]


def test_where_nothing_was_measured_no_class_has_a_radius_of_its_own(write):
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
