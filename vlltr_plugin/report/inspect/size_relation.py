"""Radius and weight against class size; radii corrected for few samples, compared with classes of equal volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vlltr_plugin.core.moments import log_sigma_bias
from vlltr_plugin.runs.epoch_files import EpochArrays, Floats, Weights

EQUAL = 1e-6  # relative tolerance below which log radii count as equal; weights are stored as float32
ROUNDING = 1e-9  # quantile for a rank correlation
CORRECTIONS = (0.5, 1.0, 2.0)
"""A relation must hold for each of these multiples of the correction, since logits are not exactly normal and draws of
one image differ by augmentation. Uniform logits need half the correction, Laplace-distributed ones twice."""

INDEPENDENT_LOGITS = 2
"""Number of logits in the simulation. A network's logits are correlated; more independent ones lower the level."""

DRAWS = 2_000
SIMULATED_CLASSES = 400_000  # total over the simulated runs, so that 8,142 classes take a second
ENUMERATED = 7  # up to this number of pairs all orders are enumerated (5,040)


@dataclass(frozen=True)
class Radii:
    """The log radii of the classes with their own radius, and their small-sample bias; arrays `[K]`."""

    measured: bool  # True if radii come from samples
    own: NDArray[np.bool_]  # which classes these are, `[C]`
    counts: NDArray[np.int64]  # training images of these classes
    log_radius: Floats  # as measured
    samples: Floats  # independent samples behind each; NaN if not known
    missing: Floats | None  # to be added to `log_radius` to make it unbiased; None if not known
    correction: Floats  # the full small-sample correction; with `debias`, `missing` is 0

    def corrected(self, times: float = 1.0) -> Floats:
        """Log radii with a multiple of the correction, `[K]`; as measured if the correction is not known."""
        if self.missing is None:
            return self.log_radius
        return self.log_radius + self.missing + (times - 1) * self.correction


@dataclass(frozen=True)
class SizeRelation:
    """The relation between the radii of an epoch and class size."""

    classes: int  # number of classes with their own radius
    measured: float  # rank correlation of radius and class size as measured; NaN if the radii are all equal
    corrected: float  # of radii corrected for few samples; NaN if that correction is not known
    level: float  # 95 % quantile of |corrected| under equal volumes, with this run's samples
    sign: int  # 1 or -1 if `corrected` exceeds `level` for all multiples of the correction, else 0


def own_radii(arrays: EpochArrays, name: str) -> Radii:
    """The radii of the classes with their own radius in an epoch."""
    weights = arrays.by_logits[name]
    measured = bool((weights.samples != 0).any())
    own = (arrays.counts > 0) & ~weights.substituted & measured
    samples = np.maximum(weights.samples[own], 2.0)
    correction: Floats = log_sigma_bias(torch.from_numpy(samples)).numpy()
    missing = None if weights.bias is None or np.isnan(samples).any() else weights.bias[own]
    if missing is not None and missing.any():
        correction = missing  # the bias of a volume along principal axes, larger than that of single logits
    return Radii(measured, own, arrays.counts[own], weights.log_radius[own], samples, missing, correction)


def corrected_correlation(radii: Radii) -> float:
    """Rank correlation of corrected radius and class size; NaN if the correction is not known."""
    return math.nan if radii.missing is None else _correlation(radii.corrected(), radii)


def size_relation(radii: Radii) -> SizeRelation:
    """Computes the relation of radii and class size, see `SizeRelation`."""
    measured, corrected = _correlation(radii.log_radius, radii), corrected_correlation(radii)
    if math.isnan(corrected):
        return SizeRelation(len(radii.counts), measured, corrected, math.nan, 0)
    level = max(chance_level(len(radii.counts)), equal_volumes_level(radii.counts, radii.samples))
    under_all = [_correlation(radii.corrected(times), radii) for times in CORRECTIONS]
    sign = int(min(under_all) > level + ROUNDING) - int(max(under_all) < -level - ROUNDING)
    return SizeRelation(len(radii.counts), measured, corrected, level, sign)


def equal_volumes_level(counts: NDArray[np.int64], samples: Floats) -> float:
    """95 % quantile of |rank correlation| of corrected radius and class size under equal volumes, by simulation.

    Radii of classes with few samples scatter more, and these classes are at one end of the sizes, so the level is above
    that of unrelated pairs. log sigma of n normal samples is half the logarithm of a chi-square with n - 1 degrees of
    freedom over n - 1.
    """
    if len(counts) < 3 or np.ptp(counts) == 0:
        return math.nan
    rng = np.random.default_rng(0)
    size = ranks(counts) - (len(counts) + 1) / 2
    found = []
    expected = np.log(samples - 1) / 2 - log_sigma_bias(torch.from_numpy(samples)).numpy()
    for _ in range(max(200, min(DRAWS, SIMULATED_CLASSES // len(counts)))):
        log_radius = np.log(rng.chisquare(samples - 1, (INDEPENDENT_LOGITS, len(counts)))).mean(axis=0) / 2
        order = np.argsort(np.argsort(log_radius - expected)) - (len(counts) - 1) / 2
        found.append(order @ size / math.sqrt((order @ order) * (size @ size)))
    return float(np.quantile(np.abs(found), 0.95, method="higher"))


def _correlation(log_radius: Floats, radii: Radii) -> float:
    """Rank correlation with class size; NaN if all radii are equal, or there are fewer than 3."""
    measured = radii.log_radius
    if len(measured) == 0 or np.ptp(measured) <= EQUAL * max(1.0, np.abs(measured).max()):
        return math.nan
    return rank_correlation(log_radius, radii.counts)


@dataclass(frozen=True)
class AccuracyRelation:
    """Rank correlation of corrected radius and accuracy over the classes that have both."""

    classes: int
    plain: float
    at_equal_size: float  # partial correlation, class size held fixed
    source: str  # the file of the accuracies

    @property
    def sign(self) -> int:
        """1 or -1 if the relation at equal class size exceeds chance level, else 0."""
        level = chance_level(self.classes - 1) + ROUNDING  # a partial correlation has one degree of freedom less
        return int(self.at_equal_size > level) - int(self.at_equal_size < -level)


def accuracy_relation(radii: Radii, accuracy: Floats, source: str) -> AccuracyRelation | None:
    """Relation of radius and accuracy (`[C]`, NaN if unknown); None below 4 classes, or if either is constant."""
    known = ~np.isnan(accuracy[radii.own])
    radius, size, of_class = radii.corrected()[known], radii.counts[known], accuracy[radii.own][known]
    plain, with_size, of_size = (
        rank_correlation(*pair) for pair in ((radius, of_class), (radius, size), (of_class, size))
    )
    rest = (1 - with_size**2) * (1 - of_size**2)
    if known.sum() < 4 or math.isnan(plain) or not rest > ROUNDING:
        return None
    return AccuracyRelation(int(known.sum()), plain, (plain - with_size * of_size) / math.sqrt(rest), source)


@dataclass(frozen=True)
class Spread:
    """The variation of a positive quantity over the classes, as factors: 1 means none."""

    middle: float  # 90 % quantile over 10 % quantile
    whole: float  # largest over smallest

    @classmethod
    def of(cls, values: Floats) -> Spread:
        """The spread of positive numbers."""
        low, high = np.quantile(values, [0.1, 0.9])
        return cls(float(high / low), float(values.max() / values.min()))

    def __str__(self) -> str:
        return f"{self.middle:.3g} ({self.whole:.3g})"


@dataclass(frozen=True)
class WeightParts:
    """alpha = const * r / c for the classes that are drawn: log alpha is log r - log c, up to a constant."""

    by_draws: bool  # True if c are the sampler's expected draws m (`counts="sampler"`), False if the training images n
    radii: Spread  # variation of alpha * c, the radii of these weights (those of the epoch before)
    sampler: Spread  # variation of n / m
    share: float  # cov(log r, log alpha) / var(log alpha); below 0 if the radii make the weights more equal
    spread_of_log: float  # standard deviation of log alpha over the classes
    spread_without: float  # the same with equal radii
    with_equal_radii: Floats  # weights for equal radii with the same mean over the draws, `[C]`; NaN if not drawn


def take_apart(of_epoch: Weights, counts: NDArray[np.int64], draws: Floats) -> WeightParts:
    """Separates the weights in force into radii and counts."""
    drawn, weights = (counts > 0) & (draws > 0), of_epoch.in_force
    alpha, n, m = np.log(weights[drawn]), np.log(counts[drawn]), np.log(draws[drawn])
    # This epoch's radii give the next weights, exactly; those in force are from the radii of the epoch before.
    known = [weights] if of_epoch.next_weights is None else [weights, of_epoch.next_weights]
    over_r = [np.log(one[drawn]) - of_epoch.log_radius[drawn] for one in known]
    residual_of_m, residual_of_n = (min(float(np.std(one + log_c)) for one in over_r) for log_c in (m, n))
    by_draws = residual_of_m < residual_of_n - 1e-9
    divisor = m if by_draws else n
    radii = alpha + divisor
    variance = float(np.var(alpha))
    equal = np.exp(-divisor)
    equal *= (draws[drawn] * weights[drawn]).sum() / (draws[drawn] * equal).sum()
    everywhere: Floats = np.full(len(weights), np.nan)
    everywhere[drawn] = equal
    return WeightParts(
        by_draws=by_draws,
        radii=Spread.of(np.exp(radii)),
        sampler=Spread.of(np.exp(n - m)),
        share=float(np.cov(radii, alpha, bias=True)[0, 1]) / variance if variance > 0 else 0.0,
        spread_of_log=float(np.std(alpha)),
        spread_without=float(np.std(divisor)),
        with_equal_radii=everywhere,
    )


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, tied values sharing their mean rank."""
    a, b = ranks(np.asarray(x)), ranks(np.asarray(y))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))  # rounding can give 1 + 2e-16, above every level


def chance_level(n: int) -> float:
    """95 % quantile of |rho| of `n` unrelated pairs; NaN below 3.

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
