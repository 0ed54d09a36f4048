"""The numbers of an inspection: radii and weights against class size, in one epoch and over all epochs of a run."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import GROUPS, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_log, host_of_run
from vlltr_plugin.report.evaluate.files import PER_CLASS
from vlltr_plugin.report.inspect.size_relation import (
    AccuracyRelation,
    Radii,
    SizeRelation,
    accuracy_relation,
    corrected_correlation,
    own_radii,
    rank_correlation,
    size_relation,
)
from vlltr_plugin.report.labels import recorded_groups
from vlltr_plugin.runs.epoch_files import EpochArrays, Floats, epoch_files, newest, read_epoch, read_identity
from vlltr_plugin.runs.log import KEY, read_settings

QUANTILES = (0.1, 0.5, 0.9)

Mask = NDArray[np.bool_]
Names = list[str] | None


@dataclass(frozen=True)
class GroupSummary:
    """A group of classes in one epoch, classes without images left out; None where there is no class to say it of."""

    name: str
    classes: int
    images: tuple[int, int] | None  # fewest and most training images of a class
    weights: tuple[float, float, float] | None  # smallest, median and largest weight in force
    radius: float | None  # median over the classes with a radius of their own, as measured
    corrected_radius: float | None  # corrected for few samples; None also if that correction is not known
    substituted: int  # classes that took the mean log radius of the others
    share_of_draws: float  # of the epoch's expected draws: the group's part of the loss at weights of 1
    share_of_weight: float  # of the expected sum of weights, draws times alpha


@dataclass
class Series:
    """Epoch by epoch, the `QUANTILES` over each group's classes: one row `[3]` an epoch, NaN without classes."""

    epochs: list[int] = field(default_factory=list)
    weights: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    radii: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    corrected: list[float] = field(default_factory=list)  # rank correlation of corrected radius and class size


@dataclass(frozen=True)
class Spread:
    """How far a positive quantity varies over the classes, as factors: 1 means not at all."""

    middle: float  # 90 % quantile over 10 % quantile
    whole: float  # largest over smallest


@dataclass(frozen=True)
class WeightParts:
    """alpha = const * r / c for the classes that are drawn: log alpha is log r - log c, up to a constant."""

    by_draws: bool  # whether c are the sampler's expected draws m (`counts="sampler"`), else the training images n
    radii: Spread  # of alpha * c, the radii behind these weights (those of the epoch before)
    sampler: Spread  # of n / m
    share: float  # cov(log r, log alpha) / var(log alpha); below 0 if the radii make the weights more equal
    spread_of_log: float  # standard deviation of log alpha over the classes
    spread_without: float  # the same with equal radii
    with_equal_radii: Floats  # weights for equal radii with the same mean over the draws, `[C]`; NaN if not drawn


@dataclass(frozen=True)
class Inspection:
    """One kind of logits of a run, in one epoch and over all; arrays `[C]`."""

    logits: str  # name of the logits that the radii come from
    epoch: int
    counts: NDArray[np.int64]  # training images n
    draws: Floats  # expected draws m of an epoch
    weights: Floats  # alpha in force in that epoch
    radii: Floats  # r as measured in it
    measured: bool  # whether radii come from logits; else they follow from the class counts, or there are none
    own: Mask  # classes with images whose radius is their own
    substituted: Mask  # classes with images that took the mean log radius of the others
    group: NDArray[np.str_]  # many, medium or few; empty for classes without images
    summaries: list[GroupSummary]
    size: SizeRelation  # radius against class size, over `own`
    accuracy: AccuracyRelation | None  # radius against the accuracy in an evaluation beside the run
    equal_volumes: Floats | None  # log radii that `own` would have on average if all volumes were equal, if known
    weight_correlation: float  # rank correlation of weight and class size
    radius_spread: Spread
    weight_times_draws: Spread  # of alpha * m; 1 if the weights are 1/m
    weight_times_images: Spread  # of alpha * n; 1 if the weights are 1/n
    parts: WeightParts
    series: Series
    groups: Convention
    stale: tuple[int, ...]  # epochs left out, see `stale_epochs`

    @property
    def all_weights_one(self) -> bool:
        """True if re-weighting was not (yet) in force in this epoch."""
        return bool((self.weights == 1).all())

    def extremes(self, number: int) -> tuple[list[int], list[int]]:
        """The classes with the largest and with the smallest radius of their own, most extreme first, none in both."""
        order = np.flatnonzero(self.own)[np.argsort(self.radii[self.own], kind="stable")].tolist()
        number = min(number, len(order) // 2)
        return order[::-1][:number], order[:number]


def inspect_run(run: Path, epoch: int | None = None, groups: Convention | None = None) -> list[Inspection]:
    """Reads all epochs of a run, one file at a time, and summarises them; the last epoch is shown by default.

    Raises:
        ReportError: for a folder without arrays, a broken or foreign file, or an epoch that is not there.
    """
    files = epoch_files(run)
    host = host_of_run(run)
    groups = groups or recorded_groups(host, read_settings(run) or {}, run) or host.convention
    if epoch is not None and epoch not in files:
        raise ReportError(f"Expected an epoch of {run} ({ranges(files)}) but got {epoch}.")
    stale = stale_epochs(run, files)
    kept = {number: path for number, path in files.items() if number not in stale}
    if epoch in stale or not kept:
        left = ranges(kept) or "none"
        raise ReportError(f"Expected an epoch of {run} ({left}) but got {ranges(stale)}, from before its last start.")
    series: dict[str, Series] = {}
    shown: EpochArrays | None = None
    for number, path in kept.items():
        arrays = read_epoch(number, path)
        if shown is not None and (len(arrays.counts), [*arrays.by_logits]) != (len(shown.counts), [*shown.by_logits]):
            raise ReportError(
                f"{path}: expected {len(shown.counts)} classes and radii of {', '.join(shown.by_logits)} as in epoch "
                f"{shown.epoch} but got {len(arrays.counts)} and {', '.join(arrays.by_logits)}: two runs in one folder?"
            )
        shown = arrays if shown is None or epoch is None or number == epoch else shown
        for name in arrays.by_logits:
            _append(series.setdefault(name, Series()), arrays, name, groups)
    assert shown is not None
    evaluated = _evaluated(run, shown.counts)
    return [_inspect(shown, name, series[name], groups, stale, evaluated) for name in shown.by_logits]


def _evaluated(run: Path, counts: NDArray[np.int64]) -> tuple[Floats, str]:
    """Accuracy of each class in the only evaluation in a run's folder, `[C]`, and its file; NaN if there is none."""
    nothing: Floats = np.full(len(counts), np.nan)
    try:
        (path,) = run.glob(f"*/{PER_CLASS}")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        column = next(name for name in rows[0] if name.startswith("top1_"))  # the first is the overall rule
        if [int(row["training_images"]) for row in rows] != counts.tolist():
            return nothing, ""
        return np.array([float(row[column] or "nan") for row in rows]), path.relative_to(run).as_posix()
    except (OSError, ValueError, LookupError, StopIteration, TypeError):
        return nothing, ""


def _inspect(
    arrays: EpochArrays,
    name: str,
    series: Series,
    groups: Convention,
    stale: tuple[int, ...],
    evaluated: tuple[Floats, str],
) -> Inspection:
    weights, radii = arrays.by_logits[name], own_radii(arrays, name)
    present = arrays.counts > 0
    drawn = present & (arrays.draws > 0)
    group = np.where(present, groups.group(arrays.counts), "")
    equal = np.median(radii.corrected()) - radii.missing if radii.missing is not None and len(radii.counts) else None
    return Inspection(
        logits=name,
        epoch=arrays.epoch,
        counts=arrays.counts,
        draws=arrays.draws,
        weights=weights.in_force,
        radii=np.exp(weights.log_radius),
        measured=radii.measured,
        own=radii.own,
        substituted=present & weights.substituted,
        group=group,
        summaries=[_summary(arrays, name, radii, group == member, member) for member in GROUPS],
        size=size_relation(radii),
        accuracy=accuracy_relation(radii, *evaluated) if radii.missing is not None else None,
        equal_volumes=equal,
        weight_correlation=rank_correlation(weights.in_force[present], arrays.counts[present]),
        radius_spread=_spread(np.exp(weights.log_radius)[present]),
        weight_times_draws=_spread((weights.in_force * arrays.draws)[drawn]),
        weight_times_images=_spread((weights.in_force * arrays.counts)[present]),
        parts=_take_apart(weights.in_force, weights.log_radius, arrays.counts, arrays.draws),
        series=series,
        groups=groups,
        stale=stale,
    )


def _summary(arrays: EpochArrays, name: str, radii: Radii, members: Mask, group: str) -> GroupSummary:
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


def _append(series: Series, arrays: EpochArrays, name: str, groups: Convention) -> None:
    weights, radii = arrays.by_logits[name], own_radii(arrays, name)
    group = np.where(arrays.counts > 0, groups.group(arrays.counts), "")
    series.epochs.append(arrays.epoch)
    for member in GROUPS:
        members = group == member
        series.weights[member].append(_quantiles(weights.in_force[members]))
        series.radii[member].append(_quantiles(np.exp(weights.log_radius[members & radii.own])))
    series.corrected.append(corrected_correlation(radii))


def _quantiles(values: Floats) -> Floats:
    nothing: Floats = np.full(len(QUANTILES), np.nan)
    return np.quantile(values, QUANTILES) if len(values) else nothing


def _spread(values: Floats) -> Spread:
    low, high = np.quantile(values, [0.1, 0.9])
    return Spread(float(high / low), float(values.max() / values.min()))


def _take_apart(weights: Floats, log_radius: Floats, counts: NDArray[np.int64], draws: Floats) -> WeightParts:
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
        radii=_spread(np.exp(radii)),
        sampler=_spread(np.exp(n - m)),
        share=float(np.cov(radii, alpha, bias=True)[0, 1]) / variance if variance > 0 else 0.0,
        spread_of_log=float(np.std(alpha)),
        spread_without=float(np.std(divisor)),
        with_equal_radii=everywhere,
    )


def stale_epochs(run: Path, files: dict[int, Path]) -> tuple[int, ...]:
    """The epochs in a folder that do not belong to the run that wrote into it last.

    They are of before it was resumed at an earlier epoch, or of another run. The arrays say which run wrote them, and
    the log which epochs there were; names and times of files say nothing, as a second run takes the names and a copy
    has other times.

    Raises:
        ReportError: if the log says that its run was not re-weighted, or that no epoch of it has ended, so that the
            arrays are another run's; if there are arrays of several runs and it is not known which is the last.
    """
    writers = {epoch: read_identity(path) for epoch, path in files.items()}
    runs = newest(writers.values())
    if len(runs) > 1:
        epochs = "; ".join(", ".join(str(epoch) for epoch, by in writers.items() if by == one) for one in runs)
        raise ReportError(
            f"Expected the arrays of one run in {run} but got those of {len(runs)} (epochs {epochs}), and it is "
            "not known which is the last: two ran at once, or their folders were merged. Keep the files of one."
        )
    left = _left_by_the_log(run, files)
    others = {n for n, by in writers.items() if by is not None and not all(last.has(n, by) for last in runs)}
    return tuple(n for n in files if n in others | left)


def _left_by_the_log(run: Path, files: dict[int, Path]) -> set[int]:
    """The epochs that the log calls abandoned; none without a readable log."""
    try:
        path = find_log(run)
        log = None if path is None else host_of_log(path).read_log(path)
    except (ReportError, OSError):
        return set()
    if log is None or not log.epochs:
        return set()
    ours = any(key.startswith(f"{KEY}_") for line in log.epochs.values() for key in line)
    # A host whose every start has a log of its own, broken off inside the first epoch.
    ended_none = log.abandoned is None and log.test is None and max(log.epochs) == 0 and not ours
    if amiss := "has ended no epoch" if ended_none else "is a plain one" if log.reweighted is False else "":
        raise ReportError(
            f"Expected a re-weighted run in {run} but the last one there ({log.path.name}) {amiss}: the arrays in the "
            "folder are from a run before it. Give each run an output folder of its own."
        )
    return {n for n in files if n > max(log.epochs)} if log.abandoned is None else set(log.abandoned)


def label(names: Names, index: int) -> str:
    """The name of a class with its index, or the index alone."""
    return f"{names[index]} ({index})" if names else f"class {index}"


def ranges(epochs: Iterable[Any]) -> str:
    """`0-4, 7` for 0, 1, 2, 3, 4, 7."""
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1][1:] = [epoch]
        else:
            runs.append([epoch])
    return ", ".join("-".join(map(str, run)) for run in runs)
