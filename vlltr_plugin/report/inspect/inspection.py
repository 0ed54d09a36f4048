"""What the arrays of a run say: radii and weights against class size, and over the epochs. Numbers only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import GROUPS, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_log, host_of_run
from vlltr_plugin.report.inspect.size_relation import (
    EQUAL,
    Radii,
    SizeRelation,
    corrected_correlation,
    is_measured,
    measured_correlation,
    own_radii,
    rank_correlation,
    size_relation,
)
from vlltr_plugin.report.labels import recorded_groups
from vlltr_plugin.runs.epoch_files import EpochArrays, Floats, epoch_files, read_epoch
from vlltr_plugin.runs.log import KEY, Log
from vlltr_plugin.runs.own_log import read_settings
from vlltr_plugin.runs.run_identity import newest, read_identity

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class GroupSummary:
    """One group of classes in one epoch; None where it has no class, or none with a radius of its own.

    Attributes:
        name: many, medium or few (the host's thresholds).
        classes: how many, those without images left out.
        images: fewest and most training images of a class.
        weights: smallest, median and largest weight in force.
        radius: median radius of the classes with one of their own, as measured.
        corrected_radius: the same, corrected for few samples; None also where that correction is not known.
        substituted: classes that took the mean log radius of the others.
        share_of_draws: part of the epoch's expected draws, which is its part of the loss at weights of 1.
        share_of_weight: its part of the expected sum of weights, draws times alpha.
    """

    name: str
    classes: int
    images: tuple[int, int] | None
    weights: tuple[float, float, float] | None
    radius: float | None
    corrected_radius: float | None
    substituted: int
    share_of_draws: float
    share_of_weight: float


@dataclass
class Series:
    """Epoch by epoch, quantiles `QUANTILES` over each group's classes.

    Attributes:
        epochs: numbers of the epochs.
        weights: group to one row `[3]` an epoch; NaN for a group without classes.
        radii: the same for the radii that are the classes' own.
        correlation: rank correlation of radius as measured and class size in each epoch.
        corrected: the same of radii corrected for few samples; NaN where that correction is not known.
        radii_moved: whether any class's radius ever changed.
    """

    epochs: list[int] = field(default_factory=list)
    weights: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    radii: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    correlation: list[float] = field(default_factory=list)
    corrected: list[float] = field(default_factory=list)
    radii_moved: bool = False


@dataclass(frozen=True)
class Inspection:
    """One kind of logits of one run, in one epoch and over all; arrays `[C]`.

    Attributes:
        logits: name of the logits that the radii come from.
        epoch: the epoch looked at.
        counts: training images n.
        draws: expected draws m of an epoch.
        weights: alpha in force in that epoch.
        radii: r as measured in it.
        measured: whether radii come of logits; else they follow from the class counts, or there are none.
        own: classes with images whose radius is their own.
        substituted: classes with images that took the mean log radius of the others.
        group: many, medium or few; empty for classes without images.
        summaries: by group.
        radius_correlation: Spearman's rho of radius as measured and class size over `own`; NaN when radii are all
            equal.
        size: what the radii, corrected for few samples, say of class size.
        equal_volumes: log radii that `own` would show on average were their volumes equal, `[K]`; None where that is
            not known.
        weight_correlation: the same of weight and class size over all classes with images.
        radius_spread: spread of r over the classes with images.
        weight_times_draws: spread of alpha * m; 1 for weights that are 1/m and nothing else.
        weight_times_images: spread of alpha * n; 1 for weights that are 1/n and nothing else.
        parts: the weights taken apart into radii and counts.
        series: over all epochs.
        groups: where the lines between the groups are.
        stale: epochs left out, which the run had reached before it was resumed at an earlier one, or which are of
            another run that had the folder before.
    """

    logits: str
    epoch: int
    counts: NDArray[np.int64]
    draws: Floats
    weights: Floats
    radii: Floats
    measured: bool
    own: NDArray[np.bool_]
    substituted: NDArray[np.bool_]
    group: NDArray[np.str_]
    summaries: list[GroupSummary]
    radius_correlation: float
    size: SizeRelation
    equal_volumes: Floats | None
    weight_correlation: float
    radius_spread: Spread
    weight_times_draws: Spread
    weight_times_images: Spread
    parts: WeightParts
    series: Series
    groups: Convention
    stale: tuple[int, ...] = ()

    @property
    def all_weights_one(self) -> bool:
        """Whether re-weighting was not (yet) in force in this epoch."""
        return bool((self.weights == 1).all())

    def extremes(self, number: int) -> tuple[list[int], list[int]]:
        """The classes with the largest and with the smallest radius of their own, most extreme first, none in both."""
        order = np.flatnonzero(self.own)[np.argsort(self.radii[self.own], kind="stable")].tolist()
        number = min(number, len(order) // 2)
        return order[::-1][:number], order[:number]


def inspect_run(run: Path, epoch: int | None = None, groups: Convention | None = None) -> list[Inspection]:
    """Reads all epochs of a run, one file at a time, and sums them up.

    Raises:
        ReportError: for a folder without arrays, a broken or foreign file, or an epoch that is not there.
    """
    files = epoch_files(run)
    host = host_of_run(run)
    groups = groups or recorded_groups(host, read_settings(run) or {}, run) or host.convention
    if epoch is not None and epoch not in files:
        raise ReportError(f"Expected an epoch of {run} ({ranges(files)}) but got {epoch}.")
    stale = stale_epochs(run, files)
    series: dict[str, Series] = {}
    first: EpochArrays | None = None
    kept: EpochArrays | None = None
    for number, path in files.items():
        if number in stale:
            continue
        arrays = read_epoch(number, path)
        first = first or arrays
        if len(arrays.counts) != len(first.counts) or list(arrays.by_logits) != list(first.by_logits):
            raise ReportError(
                f"{path}: expected {len(first.counts)} classes and radii of {', '.join(first.by_logits)} as in epoch "
                f"{first.epoch} but got {len(arrays.counts)} and {', '.join(arrays.by_logits)}: two runs in one folder?"
            )
        kept = arrays if epoch is None or number == epoch else kept
        for name in arrays.by_logits:
            _append(series.setdefault(name, Series()), arrays, first, name, groups)
    if kept is None:
        left = ranges(number for number in files if number not in stale) or "none"
        raise ReportError(f"Expected an epoch of {run} ({left}) but got {ranges(stale)}, of before its last start.")
    return [replace(_inspect(kept, name, series[name], groups), stale=stale) for name in kept.by_logits]


def _inspect(arrays: EpochArrays, name: str, series: Series, groups: Convention) -> Inspection:
    weights, own_ones = arrays.by_logits[name], own_radii(arrays, name)
    present = arrays.counts > 0
    drawn = present & (arrays.draws > 0)
    measured = is_measured(weights)
    if measured is None:  # radii that never change and follow the counts (or draws) exactly are a function of them
        never_change = len(series.epochs) > 1 and not series.radii_moved
        orders = [abs(rank_correlation(own_ones.log_radius, of[own_ones.own])) for of in (arrays.counts, arrays.draws)]
        measured = not (never_change and max(orders) > 1 - EQUAL)
    radii = np.exp(weights.log_radius)
    group = np.where(present, groups.group(arrays.counts), "")
    return Inspection(
        logits=name,
        epoch=arrays.epoch,
        counts=arrays.counts,
        draws=arrays.draws,
        weights=weights.in_force,
        radii=radii,
        measured=measured,
        own=own_ones.own,
        substituted=present & weights.substituted,
        group=group,
        summaries=[_summary(arrays, name, own_ones, group == member, member) for member in GROUPS],
        radius_correlation=measured_correlation(own_ones),
        size=size_relation(own_ones),
        equal_volumes=_equal_volumes(own_ones),
        weight_correlation=rank_correlation(weights.in_force[present], arrays.counts[present]),
        radius_spread=spread(radii[present]),
        weight_times_draws=spread((weights.in_force * arrays.draws)[drawn]),
        weight_times_images=spread((weights.in_force * arrays.counts)[present]),
        parts=take_apart(weights.in_force, weights.log_radius, arrays.counts, arrays.draws),
        series=series,
        groups=groups,
    )


def _summary(arrays: EpochArrays, name: str, radii: Radii, members: NDArray[np.bool_], group: str) -> GroupSummary:
    weights = arrays.by_logits[name]
    present = arrays.counts > 0
    counts, alpha = arrays.counts[members], weights.in_force[members]
    inside = members[radii.own]
    weighted = arrays.draws * weights.in_force
    return GroupSummary(
        name=group,
        classes=len(counts),
        images=(int(counts.min()), int(counts.max())) if len(counts) else None,
        weights=(float(alpha.min()), float(np.median(alpha)), float(alpha.max())) if len(counts) else None,
        radius=_median_radius(radii.log_radius[inside]),
        corrected_radius=None if radii.missing is None else _median_radius(radii.corrected()[inside]),
        substituted=int((members & weights.substituted).sum()),
        share_of_draws=float(arrays.draws[members].sum() / arrays.draws[present].sum()),
        share_of_weight=float(weighted[members].sum() / weighted[present].sum()),
    )


def _median_radius(log_radius: Floats) -> float | None:
    return float(np.exp(np.median(log_radius))) if len(log_radius) else None


def _equal_volumes(radii: Radii) -> Floats | None:
    if radii.missing is None or len(radii.counts) == 0:
        return None
    expected: Floats = np.median(radii.corrected()) - radii.missing
    return expected


def _append(series: Series, arrays: EpochArrays, first: EpochArrays, name: str, groups: Convention) -> None:
    weights, own = arrays.by_logits[name], own_radii(arrays, name)
    group = np.where(arrays.counts > 0, groups.group(arrays.counts), "")
    series.epochs.append(arrays.epoch)
    for member in GROUPS:
        members = group == member
        series.weights[member].append(_quantiles(weights.in_force[members]))
        series.radii[member].append(_quantiles(np.exp(weights.log_radius[members & own.own])))
    series.correlation.append(measured_correlation(own))
    series.corrected.append(corrected_correlation(own))
    moved = np.abs(weights.log_radius - first.by_logits[name].log_radius).max() > EQUAL
    series.radii_moved = series.radii_moved or bool(moved)


def _quantiles(values: Floats) -> Floats:
    nothing: Floats = np.full(len(QUANTILES), np.nan)
    return np.quantile(values, QUANTILES) if len(values) else nothing


def ranges(epochs: Iterable[Any]) -> str:
    """`0-4, 7` for 0, 1, 2, 3, 4, 7."""
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1][1:] = [epoch]
        else:
            runs.append([epoch])
    return ", ".join("-".join(map(str, run)) for run in runs)


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


def stale_epochs(run: Path, files: dict[int, Path]) -> tuple[int, ...]:
    """The epochs of a folder that are no part of the run that wrote into it last.

    Raises:
        ReportError: when the log says that its run was not re-weighted, or that no epoch of it has ended: the arrays
            are another run's; when there are arrays of several runs and no telling which is the last.
    """
    writers = {epoch: read_identity(path) for epoch, path in files.items()}
    runs = newest(writers.values())
    if len(runs) > 1:
        epochs = "; ".join(", ".join(str(epoch) for epoch, by in writers.items() if by == one) for one in runs)
        raise ReportError(
            f"Expected the arrays of one run in {run} but got those of {len(runs)} (epochs {epochs}), and no telling "
            "which is the last: two ran at once, or their folders were put together. Keep the files of one."
        )
    left = _left_by_the_log(run, files)
    others = {n for n, by in writers.items() if by is not None and not all(last.has(n, by) for last in runs)}
    return tuple(n for n in files if n in others | left)


def _left_by_the_log(run: Path, files: dict[int, Path]) -> set[int]:
    """The epochs that the run's log says were abandoned; none where there is no log that is understood."""
    try:
        path = find_log(run)
        log = None if path is None else host_of_log(path).read_log(path)
    except (ReportError, OSError):
        return set()
    if log is None or not log.epochs:
        return set()
    if amiss := "has ended no epoch" if _ended_none(log) else "is a plain one" if log.reweighted is False else "":
        raise ReportError(
            f"Expected a re-weighted run in {run} but the last one there ({log.path.name}) {amiss}: the arrays in the "
            "folder are of a run before it. Give each run an output folder of its own."
        )
    return {n for n in files if n > max(log.epochs)} if log.abandoned is None else set(log.abandoned)


def _ended_none(log: Log) -> bool:
    """Whether a log, of a host whose every start has its own, breaks off inside the first epoch."""
    ours = any(key.startswith(f"{KEY}_") for line in log.epochs.values() for key in line)
    return log.abandoned is None and log.test is None and max(log.epochs) == 0 and not ours


Names = list[str] | None


def label(names: Names, index: int) -> str:
    """The name of a class with its index, or the index alone."""
    return f"{names[index]} ({index})" if names else f"class {index}"
