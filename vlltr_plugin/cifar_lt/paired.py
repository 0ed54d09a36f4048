"""Differences between methods, paired over the seeds, with their confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5 % quantile of Student's t for 1 to 30 degrees of freedom."""


@dataclass(frozen=True)
class Difference:
    """Mean over the seeds of one method's error minus another's, in points.

    Attributes:
        mean: below 0 when the first method is better.
        half_width: of the 95 % confidence interval for seeds drawn at random (Student's t); nan for one seed.
        seeds: that both have.
    """

    mean: float
    half_width: float
    seeds: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return abs(self.mean) > self.half_width


def difference(first: dict[int, float], second: dict[int, float]) -> Difference | None:
    """The paired difference of two methods.

    Args:
        first: error of each seed, in percent.
        second: of the method that it is compared with.

    Returns:
        None when no seed is common.
    """
    pairs = [first[seed] - second[seed] for seed in first if seed in second]
    if not pairs:
        return None
    number = len(pairs)
    mean = math.fsum(pairs) / number
    if number == 1:
        return Difference(mean, math.nan, 1)
    deviation = math.sqrt(math.fsum((pair - mean) ** 2 for pair in pairs) / (number - 1))
    quantile = STUDENT_T[min(number - 1, len(STUDENT_T)) - 1]
    return Difference(mean, quantile * deviation / math.sqrt(number), number)
