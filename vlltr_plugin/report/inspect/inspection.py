"""The numbers of an inspection: radii and weights against class size, in one epoch and over all epochs of a run."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import GROUPS, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_run
from vlltr_plugin.report.compare.settings import early_start
from vlltr_plugin.report.evaluate.files import JSON, PER_CLASS, is_of_run
from vlltr_plugin.report.inspect.size_relation import (
    AccuracyRelation,
    Radii,
    SizeRelation,
    Spread,
    WeightParts,
    accuracy_relation,
    corrected_correlation,
    own_radii,
    rank_correlation,
    size_relation,
    take_apart,
)
from vlltr_plugin.report.labels import recorded_groups
from vlltr_plugin.runs.epoch_files import EpochArrays, Floats, epoch_files, newest, read_epoch, read_identity
from vlltr_plugin.runs.log import KEY, Log, read_settings

QUANTILES = (0.1, 0.5, 0.9)

Mask = NDArray[np.bool_]
Names = list[str] | None


@dataclass(frozen=True)
class GroupSummary:
    """A group of classes in one epoch, without classes that have no images; None if no class has the value."""

    name: str
    classes: int
    images: tuple[int, int] | None  # fewest and most training images of a class
    weights: tuple[float, float, float] | None  # smallest, median and largest weight in force
    radius: float | None  # median over the classes with their own radius, as measured
    corrected_radius: float | None  # corrected for few samples; None also if that correction is not known
    substituted: int  # classes that were given the mean log radius of the others
    share_of_draws: float  # share of the epoch's expected draws, which is the group's share of the loss at weights of 1
    share_of_weight: float  # share of the expected sum of weights, draws times alpha


@dataclass
class Series:
    """The `QUANTILES` over each group's classes in each epoch: one row `[3]` per epoch, NaN without classes."""

    epochs: list[int] = field(default_factory=list)
    weights: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    radii: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    corrected: list[float] = field(default_factory=list)  # rank correlation of corrected radius and class size

    def append(self, arrays: EpochArrays, name: str, groups: Convention) -> None:
        """Adds an epoch."""
        weights, radii = arrays.by_logits[name], own_radii(arrays, name)
        group = groups.group(arrays.counts)
        self.epochs.append(arrays.epoch)
        self.corrected.append(corrected_correlation(radii))
        for member in GROUPS:
            alpha = weights.in_force[group == member]
            radius = np.exp(weights.log_radius[(group == member) & radii.own])
            for values, rows in ((alpha, self.weights), (radius, self.radii)):
                rows[member].append(np.quantile(values, QUANTILES) if len(values) else np.full(3, np.nan))


@dataclass(frozen=True)
class Inspection:
    """The radii and weights from one kind of logits, in one epoch and over all epochs; arrays `[C]`."""

    logits: str  # name of the logits that the radii come from
    epoch: int
    counts: NDArray[np.int64]  # training images n
    draws: Floats  # expected draws m of an epoch
    weights: Floats  # alpha in force in that epoch
    radii: Floats  # r after it: as measured in it, or kept if it measured none
    measured: bool  # True if radii come from logits; else they follow from the class counts, or there are none
    samples_known: bool  # False if the file does not say how many samples are behind the radii
    own: Mask  # classes with images and their own radius
    substituted: Mask  # classes with images that were given the mean log radius of the others
    group: NDArray[np.str_]  # many, medium or few; empty for classes without images
    summaries: list[GroupSummary]
    size: SizeRelation  # radius against class size, over `own`
    accuracy: AccuracyRelation | None  # radius against the accuracy from an evaluation in the run's folder
    equal_volumes: Floats | None  # expected log radii of `own` if all volumes were equal, if known
    weight_correlation: float  # rank correlation of weight and class size
    radius_spread: Spread
    weight_times_draws: Spread  # of alpha * m; 1 if the weights are 1/m
    weight_times_images: Spread  # of alpha * n; 1 if the weights are 1/n
    parts: WeightParts
    series: Series
    groups: Convention
    stale: tuple[int, ...]  # epochs left out, see `stale_epochs`
    early_start: str  # advice where weights apply early in the run

    @property
    def all_weights_one(self) -> bool:
        """True if re-weighting was not (yet) in force in this epoch."""
        return bool((self.weights == 1).all())

    def extremes(self, number: int) -> tuple[list[int], list[int]]:
        """The classes with the largest and the smallest own radius, most extreme first; no class is in both lists."""
        order = np.flatnonzero(self.own)[np.argsort(self.radii[self.own], kind="stable")].tolist()
        number = min(number, len(order) // 2)
        return order[::-1][:number], order[:number]


def inspect_run(run: Path, epoch: int | None = None, groups: Convention | None = None) -> list[Inspection]:
    """Reads and summarises all epochs of a run, one file at a time; shows the last epoch by default.

    ReportError for a folder without arrays, a broken or foreign file, or an epoch that is not there.
    """
    files = epoch_files(run)
    if epoch is not None and epoch not in files:
        raise ReportError(f"Expected an epoch of {run} ({ranges(files)}) but got {epoch}.")
    host, log_path = host_of_run(run), find_log(run)
    log, args = None, read_settings(run) or {}
    with contextlib.suppress(ReportError, OSError):  # a log is not needed
        if log_path is not None:
            log = host.read_log(log_path)
            args = args | host.read_run(log_path).args
    groups = groups or recorded_groups(host, args, run) or host.convention
    stale = stale_epochs(run, files, log)
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
            series.setdefault(name, Series()).append(arrays, name, groups)
    assert shown is not None
    evaluated, early = _evaluated(run, shown), early_start(host, args, len(kept))
    return [_inspect(shown, name, series[name], groups, stale, evaluated, early) for name in shown.by_logits]


def _evaluated(run: Path, arrays: EpochArrays) -> tuple[Floats, str]:
    """Accuracy of each class, `[C]`, from the only evaluation in a run's folder, and its file; NaN if there is none."""
    nothing: Floats = np.full(len(arrays.counts), np.nan)
    try:
        (path,) = run.glob(f"*/{PER_CLASS}")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        column = next(name for name in rows[0] if name.startswith("top1_"))  # the first is the overall rule
        if [int(row["training_images"]) for row in rows] != arrays.counts.tolist():
            return nothing, ""
        accuracy = np.array([float(row[column] or "nan") for row in rows])
    except (OSError, ValueError, LookupError, StopIteration, TypeError):
        return nothing, ""
    source, epoch = path.relative_to(run).as_posix(), None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        checkpoint = json.loads(path.with_name(JSON).read_bytes())["checkpoint"]
        if not is_of_run(checkpoint, run):
            return nothing, ""
        epoch = checkpoint["epoch"]
    if epoch is not None and epoch != arrays.epoch:
        source += f", of epoch {epoch} (the radii are of epoch {arrays.epoch})"
    return accuracy, source


def _inspect(
    arrays: EpochArrays,
    name: str,
    series: Series,
    groups: Convention,
    stale: tuple[int, ...],
    evaluated: tuple[Floats, str],
    early: str,
) -> Inspection:
    weights, radii = arrays.by_logits[name], own_radii(arrays, name)
    present = arrays.counts > 0
    drawn = present & (arrays.draws > 0)
    group = groups.group(arrays.counts)
    equal = np.median(radii.corrected()) - radii.missing if radii.missing is not None and len(radii.counts) else None
    return Inspection(
        logits=name,
        epoch=arrays.epoch,
        counts=arrays.counts,
        draws=arrays.draws,
        weights=weights.in_force,
        radii=np.exp(weights.log_radius),
        measured=radii.measured,
        samples_known=not np.isnan(radii.samples).any(),
        own=radii.own,
        substituted=present & weights.substituted,
        group=group,
        summaries=[_summary(arrays, name, radii, group == member, member) for member in GROUPS],
        size=size_relation(radii),
        accuracy=accuracy_relation(radii, *evaluated) if radii.missing is not None else None,
        equal_volumes=equal,
        weight_correlation=rank_correlation(weights.in_force[present], arrays.counts[present]),
        radius_spread=Spread.of(np.exp(weights.log_radius)[present]),
        weight_times_draws=Spread.of((weights.in_force * arrays.draws)[drawn]),
        weight_times_images=Spread.of((weights.in_force * arrays.counts)[present]),
        parts=take_apart(weights, arrays.counts, arrays.draws),
        series=series,
        groups=groups,
        stale=stale,
        early_start=early,
    )


def _summary(arrays: EpochArrays, name: str, radii: Radii, members: Mask, group: str) -> GroupSummary:
    weights, present = arrays.by_logits[name], arrays.counts > 0
    counts, alpha, inside = arrays.counts[members], weights.in_force[members], members[radii.own]
    weighted = arrays.draws * weights.in_force

    def median(log_radius: Floats) -> float | None:
        return float(np.exp(np.median(log_radius[inside]))) if inside.any() else None

    return GroupSummary(
        name=group,
        classes=len(counts),
        images=(int(counts.min()), int(counts.max())) if len(counts) else None,
        weights=(float(alpha.min()), float(np.median(alpha)), float(alpha.max())) if len(counts) else None,
        radius=median(radii.log_radius),
        corrected_radius=None if radii.missing is None else median(radii.corrected()),
        substituted=int((members & weights.substituted).sum()),
        share_of_draws=float(arrays.draws[members].sum() / arrays.draws[present].sum()),
        share_of_weight=float(weighted[members].sum() / weighted[present].sum()),
    )


def stale_epochs(run: Path, files: dict[int, Path], log: Log | None) -> tuple[int, ...]:
    """The epochs in a folder that do not belong to the run that wrote to it last.

    They were written before the run resumed at an earlier epoch, or by another run. The arrays name the run that wrote
    them, and the log lists its epochs. File names and times are not used: a second run reuses the names, and a copy
    changes the times.
    """
    writers = {epoch: read_identity(path) for epoch, path in files.items()}
    runs = newest(writers.values())
    if len(runs) > 1:
        epochs = "; ".join(", ".join(str(epoch) for epoch, by in writers.items() if by == one) for one in runs)
        raise ReportError(
            f"Expected the arrays of one run in {run} but got those of {len(runs)} (epochs {epochs}), and it is "
            "not known which is the last: two ran at once, or their folders were merged. Keep the files of one run."
        )
    stale = {n for n, by in writers.items() if by is not None and not all(last.has(n, by) for last in runs)}
    if log is not None and log.epochs:
        ours = any(key.startswith(f"{KEY}_") for line in log.epochs.values() for key in line)
        # Each start of this host has its own log; the last start ended inside its first epoch.
        ended_none = log.abandoned is None and log.test is None and max(log.epochs) == 0 and not ours
        if amiss := "has ended no epoch" if ended_none else "is a plain one" if log.reweighted is False else "":
            raise ReportError(
                f"Expected a re-weighted run in {run} but the last one there ({log.path.name}) {amiss}: the arrays in "
                "the folder are from a run before it. Give each run an output folder of its own."
            )
        stale |= {n for n in files if n > max(log.epochs)} if log.abandoned is None else set(log.abandoned)
    return tuple(n for n in files if n in stale)


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
