"""The 95 % interval of a difference of accuracies: for other test images, and for other trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.report.frame import Variance, freedom_of, half_width

Floats = NDArray[np.float64]

MANY = np.array([1.0, 0.0, 0.0])
"""Selects many-shot accuracy from the three."""

ROUNDING = 1e-9
"""Points of accuracy; a single image is more."""


@dataclass(frozen=True)
class Classes:
    """The classes of the test images `[N]`, each a stratum: a test set has a fixed number of images of each."""

    labels: NDArray[np.int64]

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Whether an image is the only one of its class, `[N]`."""
        alone: NDArray[np.bool_] = np.bincount(self.labels)[self.labels] == 1
        return alone

    def variance_of_sum(self, scores: Floats) -> Variance:
        """Variance of the sum of `scores`, `[N]`, for other images of the same classes.

        In a class of n images it is n times the unbiased variance, with n - 1; of a single image its square, an upper
        bound.
        """
        size = np.maximum(np.bincount(self.labels), 1)
        total, squares = (np.bincount(self.labels, weights=scores**power) for power in (1, 2))
        spread = np.where(size > 1, (squares - total**2 / size) * size / np.maximum(size - 1, 1), squares)
        spread = np.maximum(spread, 0.0)
        value = float(spread.sum())
        freedom = value**2 / float((spread**2 / np.maximum(size - 1, 1)).sum()) if value else 1.0
        return Variance(value, freedom)

    def variance_of_seeds(self, methods: Sequence[Floats]) -> Variance:
        """Variance, for other seeds, of the sum over methods of the mean over seeds of scores, `[S, N]`, summed.

        The variance of the seeds' sums contains that of the test images within each seed, which `variance_of_sum` of
        the seeds' mean contains too: it is subtracted. A method of one seed adds nothing.
        """
        between, value = [], 0.0
        for scores in methods:
            seeds = len(scores)
            if seeds > 1:
                apart = scores - scores.mean(axis=0)
                within = sum(self.variance_of_sum(one).value for one in apart) / (seeds - 1)
                between.append(Variance(float(scores.sum(axis=1).var(ddof=1)) / seeds, seeds - 1))
                value += between[-1].value - within / seeds
        return Variance(max(value, 0.0), freedom_of(between))


@dataclass(frozen=True)
class Apart:
    """A run's many-shot, few-shot and overall accuracy minus those of the baseline at one tau, in points."""

    run: Floats  # what each image adds to the three accuracies, in each seed, `[3, S, N]`
    baseline: Floats
    classes: Classes

    @cached_property
    def scores(self) -> Floats:
        """What each image adds to the differences, `[3, N]`."""
        scores: Floats = self.run.mean(axis=1) - self.baseline.mean(axis=1)
        return scores

    @cached_property
    def sums(self) -> Floats:
        """The differences, `[3]`."""
        sums: Floats = self.scores.sum(axis=1)
        return sums

    @cached_property
    def room(self) -> float:
        """Half of the 95 % interval of the difference in many-shot accuracy."""
        return half_width(self._of_many)

    @property
    def share(self) -> float:
        """Difference in many-shot accuracy over `room`; above 1 if it differs significantly."""
        apart = abs(float(self.sums[0]))
        return 0.0 if apart <= ROUNDING else apart / max(self.room, ROUNDING)

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

    @cached_property
    def _of_many(self) -> list[Variance]:
        return self._variances(MANY)

    def _variances(self, weights: Floats) -> list[Variance]:
        """Variances, for other images and for other seeds, of a weighted sum `[3]` of the differences."""
        methods = [np.tensordot(weights, scores, 1) for scores in (self.run, self.baseline)]
        return [self.classes.variance_of_sum(weights @ self.scores), self.classes.variance_of_seeds(methods)]
