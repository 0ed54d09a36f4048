"""A comparison: the numbers of methods and their differences from a baseline."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Host, Metric, Reference
from vlltr_plugin.report.compare.evaluations import EVALUATED
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.report.compare.settings import Verdict, compare_settings
from vlltr_plugin.report.compare.trade_offs import TradeOffs, trade_offs_of
from vlltr_plugin.report.frame import Difference, Frame, Stage, Summary, at_tau, subtract
from vlltr_plugin.report.labels import with_bounds

STAGES = ("best", "last", "test")  # best and last epoch, and the final test
PUBLISHED, TIMES = "published", "times"  # stages of published results (methods of their own) and of a run's times
SECONDS = PASS_SECONDS, REWEIGHT_SECONDS = "pass_seconds", "reweight_seconds"  # seconds of an epoch, and of its end
PER_EPOCH, REWEIGHTING = "per_epoch", "reweight_per_epoch"
COSTS = {
    "training": "training time of the run",
    "passes": "training passes, sum",
    PER_EPOCH: "training pass, median epoch",
    REWEIGHTING: "re-weighting, median epoch",
}
"""Times of a run and their titles; re-weighting is the end of an epoch, from merging ranks to writing arrays."""


@dataclass(frozen=True)
class Comparison:
    """The contents of a report. The first method is the baseline; a single one is compared with published results."""

    methods: tuple[Method, ...]
    reference: Reference | None
    verdict: Verdict
    metrics: tuple[Metric, ...]  # in the order of the tables
    frame: Frame  # all numbers of the runs, at their stages and taus, their times, and the published ones
    trade_offs: TradeOffs | None  # None where nothing is evaluated

    @property
    def baseline_name(self) -> str:
        """Name of the baseline of all differences: the first method, or with a single method the published result."""
        return self.reference.baseline if self.reference and len(self.methods) == 1 else self.methods[0].name

    @property
    def host(self) -> Host:
        """The host of all runs."""
        return self.methods[0].host

    @property
    def runs(self) -> list[Run]:
        """The runs of all methods."""
        return [run for method in self.methods for run in method.runs]

    @property
    def groups(self) -> Convention | None:
        """The thresholds of the groups of classes; None if they are unknown, or differ between runs."""
        found = {run.groups for run in self.runs}
        return found.pop() if len(found) == 1 else None

    def title_of(self, metric: Metric) -> str:
        """The metric's title; for a group of classes with its thresholds."""
        return with_bounds(metric.title, metric.name, self.groups)

    @property
    def split(self) -> str:
        """The split of the final test: `"test"`, unless all runs are evaluations on another one."""
        return next((run.evaluated.split for run in self.runs if run.evaluated is not None), "test")

    @property
    def published(self) -> dict[str, dict[str, float]]:
        """The published results by name."""
        return {} if self.reference is None else self.reference.results

    @property
    def warnings(self) -> list[str]:
        """Warnings from reading the files."""
        return [warning for run in self.runs for warning in run.warnings]

    @cached_property
    def empty(self) -> tuple[Metric, ...]:
        """Groups that are 0.0 in every line of every log, most likely because they have no test images; not shown.

        Empty if all are 0.0 (the runs have learned nothing yet). Excludes groups with a number in an evaluation.
        """
        if not self.host.words.empty_groups:  # the host does not write 0.0 for such groups
            return ()
        lines = [line for run in self.runs for line in run.log.epochs.values()]
        lines += [run.log.test for run in self.runs if run.log.test and not run.evaluated]
        known = {key for run in self.runs if run.log.test and run.evaluated for key in run.log.test}
        zero = [metric for metric in self.host.groups if {line.get(metric.key) for line in lines} == {0.0}]
        empty = tuple(metric for metric in zero if metric.key not in known)
        return empty if len(empty) < len(self.host.groups) else ()

    def summary(self, name: str, stage: Stage, metric: Metric) -> Summary | None:
        """A number of a method, or of a published result; None if unknown."""
        return self.frame.summary(name, stage, metric.name)

    def difference(self, name: str, stage: Stage, metric: Metric) -> Difference | None:
        """A number minus the baseline's at the same stage; None for the baseline, or if either is missing."""
        other, against = self.baseline_name, stage
        if self.reference is not None and (stage == PUBLISHED or (len(self.methods) == 1 and stage == "test")):
            other, against = self.reference.baseline, PUBLISHED
        if (name, stage) == (other, against):
            return None
        return subtract(self.summary(name, stage, metric), self.summary(other, against, metric))

    def metrics_at(self, stages: Collection[Stage]) -> list[Metric]:
        """The metrics that at least one method has at one of the stages."""
        there = self.frame.metrics(stages)
        return [metric for metric in self.metrics if metric.name in there]

    def time(self, name: str, cost: str) -> tuple[Summary, float | None] | None:
        """Seconds, and percent more than the baseline's; for re-weighting, percent of the method's training pass."""
        own = self.frame.summary(name, TIMES, cost)
        if own is None:
            return None
        other = (name, PER_EPOCH) if cost == REWEIGHTING else (self.baseline_name, cost)
        whole = None if other == (name, cost) else self.frame.summary(other[0], TIMES, other[1])
        if whole is None or whole.mean <= 0:
            return own, None
        return own, 100.0 * own.mean / whole.mean - (0.0 if cost == REWEIGHTING else 100.0)


def compare(methods: Sequence[Method], reference: Reference | None = None) -> Comparison:
    """Compares methods with the first one.

    Raises:
        ReportError: they are of different data sets, or there is nothing to compare with.
    """
    if len(methods) < 2 and reference is None:
        raise ReportError("Expected a baseline and another run, but got one only: name a second run or a reference")
    verdict = compare_settings(methods, reference)
    of_host = methods[0].host.metrics
    names = {metric.name for metric in of_host}
    others = [metric for metric in EVALUATED if metric.name not in names]
    metrics = tuple(sorted((*of_host, *others), key=lambda metric: not metric.percent))  # losses last
    frame = _frame(methods, reference, metrics)
    trade_offs = None
    if len(methods) > 1 and any(run.evaluated for method in methods for run in method.runs):
        trade_offs = trade_offs_of(methods, frame)
    return Comparison(tuple(methods), reference, verdict, metrics, frame, trade_offs)


def _frame(methods: Sequence[Method], reference: Reference | None, metrics: Sequence[Metric]) -> Frame:
    frame = Frame()
    for name, numbers in reference.results.items() if reference is not None else ():
        frame.add(name, 0, PUBLISHED, numbers)
    for method in methods:
        keys = {metric.name: metric.key for metric in metrics} | {REWEIGHT_SECONDS: method.host.reweight_seconds}
        for seed, run in enumerate(method.runs):
            for stage, line in [(stage, run.line(stage)) for stage in STAGES] + list(run.log.epochs.items()):
                frame.add(method.name, seed, stage, {name: line.get(key) for name, key in keys.items()} if line else {})
            for epoch, seconds in run.stdout.epoch_seconds.items() if run.stdout else ():
                frame.add(method.name, seed, epoch, {PASS_SECONDS: seconds})
            frame.add(method.name, seed, TIMES, costs_of(run))
            curve = run.evaluated.curve if run.evaluated else None
            for tau, row in zip(curve.taus, curve.rows, strict=True) if curve else ():
                frame.add(method.name, seed, at_tau(tau), row)
    return frame


def costs_of(run: Run) -> dict[str, float | None]:
    """Seconds of one training run by the names in `COSTS`; None if its logs do not hold them."""
    seconds = run.stdout.epoch_seconds if run.stdout else {}
    passes = [seconds[epoch] for epoch in run.log.epochs if epoch in seconds]
    key = run.host.reweight_seconds
    reweight = [line[key] for line in run.log.epochs.values() if key in line]
    return {
        "training": run.stdout.training_seconds if run.stdout else None,
        "passes": sum(passes) if passes and len(passes) == len(run.log.epochs) else None,
        PER_EPOCH: statistics.median(passes) if passes else None,
        REWEIGHTING: statistics.median(reweight) if reweight else None,
    }
