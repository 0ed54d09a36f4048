"""How far other test images, and other trainings, could have moved an accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 12: 2.179, 30: 2.042, 1e9: 1.960}
"""97.5 % quantile of Student's t by degrees of freedom."""

MANY = np.array([1.0, 0.0, 0.0])
"""Takes many-shot accuracy out of the three."""

ROUNDING = 1e-9
"""Points of accuracy; a single image is more."""


class Variance(NamedTuple):
    """An estimate of a variance.

    Attributes:
        value: of a number in points, so in points squared.
        freedom: its degrees of freedom.
    """

    value: float
    freedom: float


def half_width(variances: Sequence[Variance]) -> float:
    """Half of the 95 % interval of a sum of independent terms.

    Args:
        variances: of each term.
    """
    known = np.array(list(STUDENT_T))
    quantile = np.interp(-1 / freedom_of(variances), -1 / known, list(STUDENT_T.values()))
    return float(quantile * np.sqrt(sum(one.value for one in variances)))


def freedom_of(variances: Sequence[Variance]) -> float:
    """Degrees of freedom of a sum of independent variances (Welch and Satterthwaite)."""
    parts = [one for one in variances if one.value]
    if not parts:
        return 1.0
    return max(sum(one.value for one in parts) ** 2 / sum(one.value**2 / one.freedom for one in parts), 1.0)


@dataclass(frozen=True)
class Classes:
    """The classes of the test images, each a stratum: a test set has a fixed number of images of each.

    Args:
        labels: `[N]`.
    """

    labels: NDArray[np.int64]

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Whether an image is the only one of its class, `[N]`."""
        alone: NDArray[np.bool_] = np.bincount(self.labels)[self.labels] == 1
        return alone

    def variance_of_sum(self, scores: Floats) -> Variance:
        """Variance of a sum over the images, for other images of the same classes.

        In a class of n images it is n times the unbiased variance, with n - 1; of a single image its square, an upper
        bound.

        Args:
            scores: of each image, `[N]`.
        """
        size = np.maximum(np.bincount(self.labels), 1)
        total, squares = (np.bincount(self.labels, weights=scores**power) for power in (1, 2))
        spread = np.where(size > 1, (squares - total**2 / size) * size / np.maximum(size - 1, 1), squares)
        spread = np.maximum(spread, 0.0)
        value = float(spread.sum())
        freedom = value**2 / float((spread**2 / np.maximum(size - 1, 1)).sum()) if value else 1.0
        return Variance(value, freedom)

    def variance_of_seeds(self, methods: Sequence[Floats]) -> Variance:
        """Variance of a sum over methods of a mean over seeds of a sum over the images, for other seeds.

        The scatter of the seeds' sums has that of the test images within each seed in it, which `variance_of_sum` of
        the seeds' mean has too: it is taken off. A method of one seed adds nothing.

        Args:
            methods: scores of each, `[S, N]`.
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
    """A run's many-shot, few-shot and overall accuracy minus those of the baseline at one tau, in points.

    Attributes:
        run: what each image adds to them, `[3, S, N]`.
        baseline: likewise.
        classes: of the images.
    """

    run: Floats
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
        return half_width(self._variances(MANY))

    @property
    def share(self) -> float:
        """Difference in many-shot accuracy over `room`; above 1 where the two are surely not equal."""
        apart = abs(float(self.sums[0]))
        return 0.0 if apart <= ROUNDING else apart / max(self.room, ROUNDING)

    def interval(self, number: int, spent: float = 0.0) -> tuple[float, float] | None:
        """Of the difference in few-shot accuracy (1) or top-1 (2), were the two equal in many-shot accuracy.

        All values whose squared distance from the differences is within the 95 % quantile; None if none is.

        Args:
            number: of the accuracy.
            spent: a distance as `share`, of something else that speaks against this tau.
        """
        left = 1 - self.share**2 - spent**2
        if left < 0:
            return None
        other = np.eye(3)[number]
        of_many = sum(one.value for one in self._variances(MANY))
        slope = 0.0
        if of_many:
            more, less = (sum(one.value for one in self._variances(other + sign * MANY)) for sign in (1, -1))
            slope = (more - less) / (4 * of_many)
        rest = other - slope * MANY
        half = half_width(self._variances(rest)) * left**0.5
        centre = float(rest @ self.sums)
        return centre - half, centre + half

    def _variances(self, weights: Floats) -> list[Variance]:
        """For other images and other seeds, of a weighted sum of the differences; `weights` is `[3]`."""
        methods = [np.tensordot(weights, scores, 1) for scores in (self.run, self.baseline)]
        return [self.classes.variance_of_sum(weights @ self.scores), self.classes.variance_of_seeds(methods)]
