"""Spearman's rank correlation, ties included, without scipy."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, tied values sharing their mean rank.

    Args:
        x: `[N]`.
        y: `[N]`.

    Returns:
        From -1 to 1; NaN for fewer than 3 values, or where one side is constant.
    """
    a, b = _ranks(np.asarray(x)), _ranks(np.asarray(y))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def chance_level(n: int) -> float:
    """What |rho| of `n` unrelated pairs stays below 19 times in 20 (normal approximation), NaN below 3."""
    return min(1.0, 1.96 / math.sqrt(n - 1)) if n >= 3 else math.nan


def _ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = ends - (counts - 1) / 2
    return means[inverse]
