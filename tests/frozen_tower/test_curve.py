"""Methods against ce's trade-off curve."""

import math

import pytest
import torch
from frozen_tower_curve import TAUS, Point, curve, interpolated, point

STRAIGHT = [Point(40 + i, 80 - 2 * i, 50, 10 + 4 * i) for i in range(5)]


def test_a_method_on_the_curve_has_no_interpolated() -> None:
    assert interpolated(Point(41, 78, 50, 14), STRAIGHT) == (0, 0)
    assert interpolated(Point(41.5, 77, 50, 16), STRAIGHT) == pytest.approx((0, 0))


def test_the_gap_is_taken_at_equal_many_shot_accuracy() -> None:
    assert interpolated(Point(44, 77, 50, 17), STRAIGHT) == pytest.approx((2.5, 1))


@pytest.mark.parametrize("many", [80.1, 71.9])
def test_beyond_the_curve_there_is_no_interpolated(many: float) -> None:
    assert all(map(math.isnan, interpolated(Point(44, many, 50, 17), STRAIGHT)))


def test_a_dent_in_the_curve_is_not_walked_into() -> None:
    dented = [Point(40, 80, 50, 10), Point(41, 77, 50, 14), Point(42, 78, 50, 18), Point(43, 76, 50, 22)]
    assert interpolated(Point(45, 77.5, 50, 19), dented) == pytest.approx((45 - 42.25, 0))


def test_of_equal_many_shot_accuracies_the_larger_tau_counts() -> None:
    flat = [Point(40, 80, 50, 10), Point(41, 80, 50, 14), Point(42, 78, 50, 18)]
    assert interpolated(Point(41, 80, 50, 14), flat) == (0, 0)


def test_points_are_means_over_classes() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    predicted = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 2, 0, 0]), 3).float()
    assert point(predicted, labels, torch.eye(3).bool()) == (50, 100, 50, 0)


def test_the_curve_starts_at_ce_and_moves_towards_rare_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(200)
    counts = torch.tensor([100, 30, 3])
    logits = 2 * torch.nn.functional.one_hot(labels, 3) + torch.randn(600, 3, generator=generator) + counts.log()
    points = curve(logits, labels, torch.eye(3).bool(), counts)
    assert points[0] == point(logits, labels, torch.eye(3).bool())
    by_hand = point(logits - TAUS[10] * counts.log(), labels, torch.eye(3).bool())
    assert points[10] == by_hand
    assert points[-1].few > points[0].few
    assert points[-1].many < points[0].many
