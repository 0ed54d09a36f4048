"""The numbers of a comparison: means over seeds, and differences to the baseline. Pure functions of runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Host, Metric, Reference
from vlltr_plugin.report.compare.metrics import metrics_of
from vlltr_plugin.report.compare.runs import Run
from vlltr_plugin.report.compare.settings import Verdict, compare_settings
from vlltr_plugin.report.compare.trade_offs import TradeOffs, trade_offs_of

STAGES = ("best", "last", "test")
"""Best and last epoch, on the validation split, and the final test."""


@dataclass(frozen=True)
class Summary:
    """A number over the seeds of a run.

    Attributes:
        mean: its mean.
        sd: standard deviation (n - 1); None with one seed.
        n: number of seeds that have it.
    """

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A run's mean minus the baseline's.

    Attributes:
        value: the difference.
        se: its standard error from the scatter of the seeds; None unless both have two or more.
    """

    value: float
    se: float | None


@dataclass(frozen=True)
class Comparison:
    """All that a report shows.

    Attributes:
        runs: the baseline first; a single run is compared with the published baseline.
        reference: published results to set beside the final test.
        verdict: whether the runs are comparable.
    """

    runs: tuple[Run, ...]
    reference: Reference | None
    verdict: Verdict

    @property
    def baseline(self) -> Run | None:
        """The run that the others are compared with; None where that is the published baseline."""
        return self.runs[0] if len(self.runs) > 1 else None

    @property
    def baseline_name(self) -> str:
        """What the differences are to."""
        if self.baseline is not None:
            return self.baseline.name
        assert self.reference is not None
        return self.reference.baseline

    def difference(self, run: Run, stage: str, metric: Metric) -> Difference | None:
        """What a run has more than the baseline at the same stage; None for the baseline, or where one lacks it."""
        if run is self.baseline:
            return None
        ours = summary_of(run, stage, metric)
        if self.baseline is not None:
            return subtract(ours, summary_of(self.baseline, stage, metric))
        published = self.reference.results[self.reference.baseline] if self.reference and stage == "test" else {}
        return subtract(ours, summarise([published[metric.name]] if metric.name in published else []))

    @property
    def host(self) -> Host:
        """Whose runs they are, all of them."""
        return self.runs[0].seeds[0].host

    @property
    def split(self) -> str:
        """The split of the final test: `"test"`, unless all are evaluations of another one."""
        evaluated = [seed.evaluated for run in self.runs for seed in run.seeds]
        return next((one.split for one in evaluated if one is not None), "test")

    @cached_property
    def trade_offs(self) -> TradeOffs | None:
        """Evaluated runs beside the baseline's trade-off curve; None where nothing is evaluated."""
        return trade_offs_of(self.runs, self.baseline)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd in the files."""
        return tuple(warning for run in self.runs for seed in run.seeds for warning in seed.warnings)


def compare(runs: Sequence[Run], reference: Reference | None = None) -> Comparison:
    """Compare runs with the first of them.

    Args:
        runs: the baseline and the others; a single run needs a reference.
        reference: published results to set beside them.

    Returns:
        The comparison.

    Raises:
        ReportError: they are of different data sets, or there is nothing to compare with.
    """
    if len(runs) < 2 and reference is None:
        raise ReportError("Expected a baseline and another run, but got one only: name a second run or a reference")
    return Comparison(tuple(runs), reference, compare_settings(runs, reference))


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean and standard deviation; None without values."""
    if not values:
        return None
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def summary_of(run: Run, stage: str, metric: Metric) -> Summary | None:
    """A number of a run at a stage, over its seeds."""
    lines = [line for seed in run.seeds if (line := seed.line(stage)) is not None]
    return summarise([line[metric.key] for line in lines if metric.key in line])


def subtract(one: Summary | None, other: Summary | None) -> Difference | None:
    """`one` minus `other`; None where either is missing."""
    if one is None or other is None:
        return None
    if one.sd is None or other.sd is None:
        return Difference(one.mean - other.mean, None)
    return Difference(one.mean - other.mean, math.sqrt(one.sd**2 / one.n + other.sd**2 / other.n))


def empty_groups(runs: Sequence[Run]) -> list[Metric]:
    """Groups that are 0.0 in every line of every run: most likely groups without test images.

    None where all groups are: then the runs have learnt nothing yet.
    """
    lines = [
        line
        for run in runs
        for seed in run.seeds
        for line in (*seed.log.epochs.values(), *([seed.log.test] if seed.log.test else []))
    ]
    groups = runs[0].seeds[0].host.groups
    empty = [metric for metric in groups if {line.get(metric.key) for line in lines} == {0.0}]
    return empty if len(empty) < len(groups) else []


def has_epochs(run: Run) -> bool:
    """Whether any seed has a line for an epoch."""
    return any(seed.log.epochs for seed in run.seeds)


def curve(run: Run, metric: Metric) -> dict[int, Summary]:
    """A number of a run over the epochs, on the validation split."""
    epochs = sorted({epoch for seed in run.seeds for epoch in seed.log.epochs})
    found = {}
    for epoch in epochs:
        lines = [seed.log.epochs[epoch] for seed in run.seeds if epoch in seed.log.epochs]
        summary = summarise([line[metric.key] for line in lines if metric.key in line])
        if summary is not None:
            found[epoch] = summary
    return found


def shown_metrics(runs: Sequence[Run], stages: Sequence[str]) -> list[Metric]:
    """The metrics that any of the runs has at any of the stages."""
    metrics = metrics_of(runs[0].seeds[0].host) if runs else ()
    return [m for m in metrics if any(summary_of(run, stage, m) for run in runs for stage in stages)]
