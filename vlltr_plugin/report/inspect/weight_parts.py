"""The weights taken apart: what the radii contribute, and what the counts and the sampler do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.runs.epoch_files import Floats


@dataclass(frozen=True)
class Spread:
    """How far a positive quantity varies over the classes, as factors: 1 means not at all.

    Attributes:
        middle: 90 % quantile over 10 % quantile.
        whole: largest over smallest.
    """

    middle: float
    whole: float


@dataclass(frozen=True)
class WeightParts:
    """alpha = const * r / c for the classes that are drawn: log alpha is the sum of log r and -log c, up to a constant.

    Attributes:
        by_draws: whether c are the sampler's expected draws m (`counts="sampler"`), else the training images n.
        radii: spread of alpha * c, the radii behind these weights (those of the epoch before).
        sampler: spread of n / m.
        share: the radii's part of the variance of log alpha over the classes, cov(log r, log alpha) / var(log alpha);
            the counts have the rest. Below 0 where the radii bring the weights closer together.
        spread_of_log: standard deviation of log alpha over the classes.
        spread_without: the same with equal radii.
        with_equal_radii: weights for equal radii that are as large on average over the draws, `[C]`; NaN for classes
            that are not drawn.
    """

    by_draws: bool
    radii: Spread
    sampler: Spread
    share: float
    spread_of_log: float
    spread_without: float
    with_equal_radii: Floats


def spread(values: Floats) -> Spread:
    """How far positive values vary; see `Spread`."""
    low, high = np.quantile(values, [0.1, 0.9])
    return Spread(float(high / low), float(values.max() / values.min()))


def take_apart(weights: Floats, log_radius: Floats, counts: NDArray[np.int64], draws: Floats) -> WeightParts:
    """Takes weights apart."""
    drawn = (counts > 0) & (draws > 0)
    alpha, n, m = np.log(weights[drawn]), np.log(counts[drawn]), np.log(draws[drawn])
    by_draws = bool(np.std(alpha + m - log_radius[drawn]) < np.std(alpha + n - log_radius[drawn]) - 1e-9)
    divisor = m if by_draws else n
    radii = alpha + divisor
    variance = float(np.var(alpha))
    equal = np.exp(-divisor)
    equal *= (draws[drawn] * weights[drawn]).sum() / (draws[drawn] * equal).sum()
    everywhere: Floats = np.full(len(weights), np.nan)
    everywhere[drawn] = equal
    return WeightParts(
        by_draws=by_draws,
        radii=spread(np.exp(radii)),
        sampler=spread(np.exp(n - m)),
        share=float(np.cov(radii, alpha, bias=True)[0, 1]) / variance if variance > 0 else 0.0,
        spread_of_log=float(np.std(alpha)),
        spread_without=float(np.std(divisor)),
        with_equal_radii=everywhere,
    )
