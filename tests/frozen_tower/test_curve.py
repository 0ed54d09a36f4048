"""Methods against ce's trade-off curve."""

import math

import pytest
import torch
from frozen_tower_curve import TAUS, ExactCurve, Height, Point, curve, interpolated, point

STRAIGHT = [Point(40 + i, 80 - 2 * i, 50, 10 + 4 * i) for i in range(5)]
DENTED = [Point(40, 80, 50, 10), Point(41, 77, 50, 14), Point(42, 78, 50, 18), Point(43, 76, 50, 22)]
FLAT = [Point(40, 80, 50, 10), Point(41, 80, 50, 14), Point(42, 78, 50, 18)]
GROUPS = torch.eye(3).bool()
LABELS, COUNTS = torch.arange(3).repeat_interleave(200), torch.tensor([100, 30, 3])
LOGITS = 2 * torch.nn.functional.one_hot(LABELS, 3) + COUNTS.log()
LOGITS = LOGITS + torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
EXACT = ExactCurve(LOGITS, LABELS, GROUPS, COUNTS)


@pytest.mark.parametrize(
    ("method", "baseline", "height"),
    [
        pytest.param(Point(41, 78, 50, 14), STRAIGHT, (0, 0), id="on a point"),
        pytest.param(Point(41.5, 77, 50, 16), STRAIGHT, (0, 0), id="on the line between two points"),
        pytest.param(Point(44, 77, 50, 17), STRAIGHT, (2.5, 1), id="above, at equal many-shot accuracy"),
        pytest.param(Point(45, 77.5, 50, 19), DENTED, (45 - 42.25, 0), id="a dent is passed over"),
        pytest.param(Point(44, 80.1, 50, 17), STRAIGHT, (math.nan, math.nan), id="before the first point"),
        pytest.param(Point(44, 71.9, 50, 17), STRAIGHT, (math.nan, math.nan), id="beyond the last point"),
        pytest.param(Point(41, 80, 50, 14), FLAT, (0, 0), id="of equal many-shot accuracies the larger tau"),
    ],
)
def test_height_at_the_taus_of_the_curve(method: Point, baseline: list[Point], height: tuple[float, float]) -> None:
    assert interpolated(method, baseline) == pytest.approx(height, nan_ok=True)


def test_points_are_means_over_classes() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    predicted = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 2, 0, 0]), 3).float()
    assert point(predicted, labels, GROUPS) == (50, 100, 50, 0)


def adjusted(tau: float) -> Point:
    return point(LOGITS - tau * COUNTS.log(), LABELS, GROUPS)


def test_the_curve_starts_at_ce_and_moves_towards_rare_classes() -> None:
    points = curve(LOGITS, LABELS, GROUPS, COUNTS)
    assert (points[0], points[10]) == (point(LOGITS, LABELS, GROUPS), adjusted(TAUS[10]))
    assert points[-1].few > points[0].few
    assert points[-1].many < points[0].many


def test_the_exact_curve_has_every_adjusted_model_and_the_best_tau() -> None:
    assert all(EXACT.height(adjusted(tau)) == (0, 0) for tau in (0.0, 0.33, 1.0, 2.718, 9.0))
    tau, best = EXACT.best
    assert best == adjusted(tau).all
    assert best >= max(each.all for each in curve(LOGITS, LABELS, GROUPS, COUNTS))


def test_a_method_above_the_exact_curve_and_beyond_its_ends() -> None:
    on = adjusted(0.5)
    above = EXACT.height(on._replace(all=on.all + 2, few=on.few + 3))
    assert 1.5 < above.all <= 2  # of the taus with this many-shot accuracy the one nearest in few-shot accuracy counts
    assert 1.5 < above.few <= 3
    top = EXACT.curve.top
    assert EXACT.height(Point(90, 101, 90, 90)) == Height(90 - EXACT.curve.overall[top], 90 - EXACT.curve.few[top])
    assert all(map(math.isnan, EXACT.height(Point(50, -1, 50, 50))))
