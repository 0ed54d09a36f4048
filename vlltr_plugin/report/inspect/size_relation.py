"""Radius against class size: corrected for few samples, beside what classes of equal volumes would show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vlltr_plugin.core.normalization import log_sigma_bias
from vlltr_plugin.runs.epoch_files import EpochArrays, Floats, Weights

EQUAL = 1e-6
"""Relative: log radii that differ by less are equal; weights are stored as float32."""

ROUNDING = 1e-9
"""Of a rank correlation."""

CORRECTIONS = (0.5, 1.0, 2.0)
"""Multiples of the correction under which a relation must hold: logits are not quite normal, and draws of one image
differ by augmentation. For uniform logits half of it is right, for Laplace-distributed ones twice."""

INDEPENDENT_LOGITS = 2
"""Of the simulation. Logits of a network are correlated; more independent ones give a slightly lower level."""

DRAWS = 2_000
SIMULATED_CLASSES = 400_000
"""Classes in all simulated runs together, so that 8,142 classes take a second."""


@dataclass(frozen=True)
class Radii:
    """The log radii that are the classes' own, and what their number of samples does to them; arrays `[K]`.

    Attributes:
        own: which classes they are, bool `[C]`.
        counts: training images of these classes.
        log_radius: log r as measured.
        samples: independent samples behind each.
        missing: what to add to `log_radius` so that it is right on average; None where that is not known.
        correction: the whole of the small-sample correction, of which `missing` is nothing under `debias`.
    """

    own: NDArray[np.bool_]
    counts: NDArray[np.int64]
    log_radius: Floats
    samples: Floats
    missing: Floats | None
    correction: Floats

    def corrected(self, times: float = 1.0) -> Floats:
        """Log radii with that multiple of the correction, `[K]`; as measured where it is not known."""
        if self.missing is None:
            return self.log_radius
        return self.log_radius + self.missing + (times - 1) * self.correction


@dataclass(frozen=True)
class SizeRelation:
    """What the radii of an epoch say of class size.

    Attributes:
        classes: number of classes with a radius of their own.
        measured: rank correlation of radius and class size as measured; NaN where the radii are all equal.
        corrected: the same of radii corrected for few samples; NaN where that correction is not known.
        level: what |corrected| stays below, 19 times in 20, where all volumes are equal, with this run's samples.
        sign: 1 or -1 where `corrected` is beyond it whatever the correction within reason, else 0.
    """

    classes: int
    measured: float
    corrected: float
    level: float
    sign: int

    @property
    def few_classes(self) -> bool:
        """Whether even a perfect order comes by chance more than once in 20."""
        return math.isnan(self.level) or self.level >= 1

    @property
    def beyond(self) -> bool:
        """Whether the correlation is beyond the level with the plain correction."""
        return abs(self.corrected) > self.level + ROUNDING


def is_measured(weights: Weights) -> bool | None:
    """Whether the radii come of samples; None where the file does not say."""
    return None if weights.samples is None else bool((weights.samples > 0).any())


def own_radii(arrays: EpochArrays, name: str) -> Radii:
    """The radii of an epoch that are the classes' own."""
    weights = arrays.by_logits[name]
    own = (arrays.counts > 0) & ~weights.substituted & (is_measured(weights) is not False)
    samples = weights.samples
    if samples is None:  # no more samples than images, nor than were drawn
        samples = arrays.counts.astype(np.float64)
        samples = samples if arrays.drawn is None else np.minimum(samples, arrays.drawn)
    samples = np.maximum(samples[own], 2.0)
    correction: Floats = log_sigma_bias(torch.from_numpy(samples)).numpy()
    if weights.bias is not None:
        missing: Floats | None = weights.bias[own]
    else:
        missing = correction if weights.samples is None else None
    if missing is not None and missing.any():
        correction = missing  # of a volume along principal axes, larger than that of single logits
    return Radii(own, arrays.counts[own], weights.log_radius[own], samples, missing, correction)


def measured_correlation(radii: Radii) -> float:
    """Rank correlation of radius and class size as measured; NaN where the radii are all equal, or fewer than 3."""
    return _correlation(radii.log_radius, radii)


def corrected_correlation(radii: Radii) -> float:
    """The same of corrected radii; NaN where the correction is not known."""
    return math.nan if radii.missing is None else _correlation(radii.corrected(), radii)


def size_relation(radii: Radii) -> SizeRelation:
    """What the radii say of class size; see `SizeRelation`."""
    measured, corrected = measured_correlation(radii), corrected_correlation(radii)
    if math.isnan(corrected):
        return SizeRelation(len(radii.counts), measured, corrected, math.nan, 0)
    level = max(chance_level(len(radii.counts)), equal_volumes_level(radii.counts, radii.samples))
    under_all = [_correlation(radii.corrected(times), radii) for times in CORRECTIONS]
    sign = int(min(under_all) > level + ROUNDING) - int(max(under_all) < -level - ROUNDING)
    return SizeRelation(len(radii.counts), measured, corrected, level, sign)


def equal_volumes_level(counts: NDArray[np.int64], samples: Floats) -> float:
    """What |rank correlation| of corrected radius and class size stays below, 19 times in 20, under equal volumes.

    Radii of classes with few samples scatter more, and lie at one end of the class sizes, so that this is above the
    level of unrelated pairs. Simulated: log sigma of n normal samples is half the logarithm of a chi-square with n - 1
    degrees of freedom over n - 1.
    """
    if len(counts) < 3 or np.ptp(counts) == 0:
        return math.nan
    rng = np.random.default_rng(0)
    size = ranks(counts) - (len(counts) + 1) / 2
    found = []
    for _ in range(max(200, min(DRAWS, SIMULATED_CLASSES // len(counts)))):
        log_radius = np.log(rng.chisquare(samples - 1, (INDEPENDENT_LOGITS, len(counts)))).mean(axis=0) / 2
        centred = log_radius - _expected_log_chi(samples)
        order = np.argsort(np.argsort(centred)) - (len(counts) - 1) / 2
        found.append(order @ size / math.sqrt((order @ order) * (size @ size)))
    return float(np.quantile(np.abs(found), 0.95, method="higher"))


def _expected_log_chi(samples: Floats) -> Floats:
    """Of half the logarithm of a chi-square with n - 1 degrees of freedom."""
    expected: Floats = np.log(samples - 1) / 2 - log_sigma_bias(torch.from_numpy(samples)).numpy()
    return expected


def _correlation(log_radius: Floats, radii: Radii) -> float:
    measured = radii.log_radius
    if len(measured) == 0 or np.ptp(measured) <= EQUAL * max(1.0, np.abs(measured).max()):
        return math.nan
    return rank_correlation(log_radius, radii.counts)


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
