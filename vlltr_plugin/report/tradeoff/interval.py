"""The 95 % interval of a difference of accuracies: for other test images, and for other trainings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.report.frame import Variance, freedom_of, half_width

Floats = NDArray[np.float64]

MANY = np.array([1.0, 0.0, 0.0])
"""Selects many-shot accuracy from the three."""

ROUNDING = 1e-9
"""Points of accuracy; a single image is more."""


def variance_of_sum(scores: Floats, labels: NDArray[np.int64]) -> Variance:
    """Variance of the sum of `scores`, `[N]`, for other images of the same classes.

    A test set has a fixed number of images of each class. In a class of n images the variance is n times the unbiased
    one, with n - 1; of a single image its square, an upper bound.
    """
    size = np.maximum(np.bincount(labels), 1)
    total, squares = (np.bincount(labels, weights=scores**power) for power in (1, 2))
    spread = np.where(size > 1, (squares - total**2 / size) * size / np.maximum(size - 1, 1), squares)
    spread = np.maximum(spread, 0.0)
    value = float(spread.sum())
    freedom = value**2 / float((spread**2 / np.maximum(size - 1, 1)).sum()) if value else 1.0
    return Variance(value, freedom)


def variance_of_seeds(methods: Sequence[Floats], labels: NDArray[np.int64]) -> Variance:
    """Variance, for other seeds, of the sum over methods of the mean over seeds of scores, `[S, N]`, summed.

    The variance of the seeds' sums contains that of the test images within each seed, which `variance_of_sum` of the
    seeds' mean contains too: it is subtracted. A method of one seed adds nothing.
    """
    between, value = [], 0.0
    for scores in methods:
        seeds = len(scores)
        if seeds > 1:
            apart = scores - scores.mean(axis=0)
            within = sum(variance_of_sum(one, labels).value for one in apart) / (seeds - 1)
            between.append(Variance(float(scores.sum(axis=1).var(ddof=1)) / seeds, seeds - 1))
            value += between[-1].value - within / seeds
    return Variance(max(value, 0.0), freedom_of(between))


class Apart:
    """A run's many-shot, few-shot and overall accuracy minus those of the baseline at one tau, in points.

    `run` and `baseline` are what each image adds to the three accuracies, in each seed, `[3, S, N]`.
    """

    def __init__(self, run: Floats, baseline: Floats, labels: NDArray[np.int64]) -> None:
        self._seeds, self.labels = (run, baseline), labels
        self.scores: Floats = run.mean(axis=1) - baseline.mean(axis=1)  # what each image adds, [3, N]
        self.sums: Floats = self.scores.sum(axis=1)  # the differences, [3]
        self._of_many = self._variances(MANY)
        self.room = half_width(self._of_many)  # half of the 95 % interval of the difference in many-shot accuracy
        apart = abs(float(self.sums[0]))
        # Difference in many-shot accuracy over `room`; above 1 if it differs significantly.
        self.share = 0.0 if apart <= ROUNDING else apart / max(self.room, ROUNDING)

    def interval(self, number: int, spent: float = 0.0) -> tuple[float, float] | None:
        """Interval of the difference in few-shot accuracy (1) or top-1 (2) at equal many-shot accuracy.

        All values whose squared distance from the differences is within the 95 % quantile; None if none is. `spent` is
        a distance, as `share`, of other evidence against this tau.
        """
        left = 1 - self.share**2 - spent**2
        if left < 0:
            return None
        other = np.eye(3)[number]
        of_many = sum(one.value for one in self._of_many)
        slope = 0.0
        if of_many:
            more, less = (sum(one.value for one in self._variances(other + sign * MANY)) for sign in (1, -1))
            slope = (more - less) / (4 * of_many)
        rest = other - slope * MANY
        half = half_width(self._variances(rest)) * left**0.5
        centre = float(rest @ self.sums)
        return centre - half, centre + half

    def _variances(self, weights: Floats) -> list[Variance]:
        """Variances, for other images and for other seeds, of a weighted sum `[3]` of the differences."""
        methods = [np.tensordot(weights, scores, 1) for scores in self._seeds]
        return [variance_of_sum(weights @ self.scores, self.labels), variance_of_seeds(methods, self.labels)]
