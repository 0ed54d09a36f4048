"""A comparison: methods beside a baseline, with all that its outputs print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Host, Metric, Reference
from vlltr_plugin.report.compare.costs import Times, fill_times
from vlltr_plugin.report.compare.metrics import metrics_of
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.compare.settings import Verdict, compare_settings
from vlltr_plugin.report.compare.table import Difference, Summary, Table, empty_groups, fill_table, summarise
from vlltr_plugin.report.compare.trade_offs import TradeOffs, trade_offs_of
from vlltr_plugin.report.groups import with_bounds


@dataclass(frozen=True)
class Comparison:
    """All that a report shows.

    Attributes:
        methods: the baseline first; a single method is compared with the published baseline.
        reference: published results to set beside the final test.
        verdict: whether the runs are comparable.
        metrics: all numbers, in the order of the tables.
        table: the numbers themselves.
        times: what the runs cost.
        empty: groups of classes that most likely have no test images; their numbers are not shown.
        trade_offs: evaluated runs beside the baseline's trade-off curve; None where nothing is evaluated.
    """

    methods: tuple[Method, ...]
    reference: Reference | None
    verdict: Verdict
    metrics: tuple[Metric, ...]
    table: Table
    times: Times
    empty: tuple[Metric, ...]
    trade_offs: TradeOffs | None

    @property
    def baseline(self) -> Method | None:
        """The method that the others are compared with; None where that is the published baseline."""
        return self.methods[0] if len(self.methods) > 1 else None

    @property
    def baseline_name(self) -> str:
        """What the differences are to."""
        if self.baseline is not None:
            return self.baseline.name
        assert self.reference is not None
        return self.reference.baseline

    @property
    def host(self) -> Host:
        """Whose runs they are, all of them."""
        return self.methods[0].host

    @property
    def groups(self) -> Convention | None:
        """The thresholds of the groups of classes; None where they are not known, or not the same in all runs."""
        found = {run.groups for method in self.methods for run in method.runs}
        return found.pop() if len(found) == 1 else None

    def title_of(self, metric: Metric) -> str:
        """The metric in words, a group of classes with its thresholds."""
        return with_bounds(metric.title, metric.name, self.groups)

    @property
    def split(self) -> str:
        """The split of the final test: `"test"`, unless all are evaluations of another one."""
        evaluated = [run.evaluated for method in self.methods for run in method.runs]
        return next((one.split for one in evaluated if one is not None), "test")

    @property
    def published(self) -> tuple[str, ...]:
        """Names of the published results."""
        return () if self.reference is None else tuple(self.reference.results)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd in the files."""
        return tuple(warning for method in self.methods for run in method.runs for warning in run.warnings)

    def summary(self, name: str, stage: str, metric: Metric) -> Summary | None:
        """A number of a method, or of a published result; None where it is not known."""
        cell = self.table.get((name, stage, metric.name))
        return None if cell is None else cell.summary

    def difference(self, name: str, stage: str, metric: Metric) -> Difference | None:
        """What it is more than the baseline at the same stage; None for the baseline, or where one lacks it."""
        cell = self.table.get((name, stage, metric.name))
        return None if cell is None else cell.difference

    def known(self, stages: Sequence[str]) -> list[Metric]:
        """The metrics that any of the methods has at any of the stages."""
        there = {(stage, metric) for _, stage, metric in self.table}
        return [metric for metric in self.metrics if any((stage, metric.name) in there for stage in stages)]


def compare(methods: Sequence[Method], reference: Reference | None = None) -> Comparison:
    """Compares methods with the first of them.

    Raises:
        ReportError: they are of different data sets, or there is nothing to compare with.
    """
    if len(methods) < 2 and reference is None:
        raise ReportError("Expected a baseline and another run, but got one only: name a second run or a reference")
    verdict = compare_settings(methods, reference)
    baseline = methods[0] if len(methods) > 1 else None
    metrics = metrics_of(methods[0].host)
    return Comparison(
        tuple(methods),
        reference,
        verdict,
        metrics,
        fill_table(methods, reference, metrics),
        fill_times(methods, baseline),
        empty_groups(methods, methods[0].host.groups),
        trade_offs_of(methods, baseline),
    )


def has_epochs(method: Method) -> bool:
    """Whether any run has a line for an epoch."""
    return any(run.log.epochs for run in method.runs)


def curve(method: Method, metric: Metric) -> dict[int, Summary]:
    """A number of a method over the epochs."""
    found = {}
    for epoch in sorted({epoch for run in method.runs for epoch in run.log.epochs}):
        lines = [run.log.epochs[epoch] for run in method.runs if epoch in run.log.epochs]
        summary = summarise([line[metric.key] for line in lines if metric.key in line])
        if summary is not None:
            found[epoch] = summary
    return found
