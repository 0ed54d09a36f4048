"""Means, intervals and differences over seeds against numpy and Student's t."""

import math

import numpy as np
import pytest

from vlltr_plugin.report.frame import STUDENT_T, Frame, Variance, half_width, subtract, summarise

ONE, OTHER = [50.0, 53.0, 55.5], [40.0, 41.0]


def test_the_interval_of_a_mean_is_student_s():
    summary = summarise(ONE)
    assert (summary.mean, summary.sd, summary.n) == pytest.approx((np.mean(ONE), np.std(ONE, ddof=1), 3))
    assert summary.half == pytest.approx(4.303 * np.std(ONE, ddof=1) / np.sqrt(3))  # 2 degrees of freedom
    assert summarise(OTHER).half == pytest.approx(12.706 * np.std(OTHER, ddof=1) / np.sqrt(2))


def test_one_seed_has_no_interval():
    assert (summarise([3.0]).sd, summarise([3.0]).half, summarise([])) == (None, None, None)
    assert vars(subtract(summarise([3.0]), summarise(ONE))) == {"value": 3.0 - np.mean(ONE), "se": None, "half": None}


def test_a_difference_of_independent_seeds_is_welch_s():
    difference = subtract(summarise(ONE), summarise(OTHER))
    parts = np.var(ONE, ddof=1) / 3, np.var(OTHER, ddof=1) / 2
    assert difference.value == pytest.approx(np.mean(ONE) - np.mean(OTHER))
    assert difference.se == pytest.approx(np.sqrt(sum(parts)))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    assert difference.half == half_width([Variance(difference.se**2, freedom)])
    assert STUDENT_T[2] > difference.half / difference.se > STUDENT_T[3]  # 2.6 degrees of freedom


@pytest.mark.parametrize("freedom", [1, 1.05, 1.4, 1.85, 2, 2.25, 2.7, 3, 7, 12, 100])
def test_the_quantile_of_student_s_t_is_scipy_s(freedom):
    stats = pytest.importorskip("scipy.stats")
    within = 2e-3 if freedom == int(freedom) else 8e-3
    assert half_width([Variance(1.0, freedom)]) == pytest.approx(stats.t.ppf(0.975, freedom), rel=within)


def test_seeds_are_paired_by_number_and_the_last_number_added_counts():
    frame = Frame()
    for seed, value in ((0, 9.0), (0, 1.0), (2, 5.0)):
        frame.add("a", seed, "test", {"few": value})
    frame.add("b", 2, "test", {"few": 3.0, "many": None})
    assert (frame.summary("a", "test", "few").mean, frame.paired("a", "b", "test", "few").mean) == (3.0, 2.0)
    assert frame.summary("b", "test", "many") is None
    assert frame.metrics(["test"]) == {"few"}


@pytest.mark.parametrize("values", [(math.nan, 50.0), (50.0, math.inf), (-math.inf, math.inf), (math.nan, math.nan)])
def test_a_non_finite_number_makes_mean_and_deviation_non_finite(values):
    summary = summarise(values)
    assert not math.isfinite(summary.mean)
    assert math.isnan(summary.sd)
    assert math.isnan(summary.half)
