"""Spearman's rank correlation, ties included, without scipy."""

import math
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ENUMERATED = 7
"""Up to so many pairs all orders are looked at (5,040)."""


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, tied values sharing their mean rank."""
    a, b = ranks(np.asarray(x)), ranks(np.asarray(y))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))  # rounding can give 1 + 2e-16, above every level


def chance_level(n: int) -> float:
    """What |rho| of `n` unrelated pairs stays at or below at least 19 times in 20; NaN below 3.

    Exact for up to `ENUMERATED` pairs: 1 for 3 and 4, where a perfect order comes by chance 1 time in 3 and 1 in 12.
    A normal approximation beyond.
    """
    if n < 3:
        return math.nan
    if n > ENUMERATED:
        return 1.96 / math.sqrt(n - 1)
    own = np.arange(n) - (n - 1) / 2
    rho = np.array(list(permutations(own))) @ own / (own @ own)
    return float(np.quantile(np.abs(rho), 0.95, method="higher"))


def ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Ranks from 1, tied values sharing their mean rank, `[N]`."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = ends - (counts - 1) / 2
    return means[inverse]
