"""A comparison: methods beside a baseline, with all that its outputs print."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Host, Metric, Reference
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.report.compare.settings import Verdict, compare_settings
from vlltr_plugin.report.compare.trade_offs import TradeOffs, trade_offs_of
from vlltr_plugin.report.frame import Difference, Summary, subtract, summarise
from vlltr_plugin.report.labels import with_bounds

EVALUATED = (
    Metric("macro", "eval_macro_top1", "mean over classes"),
    Metric("harmonic", "eval_harmonic_top1", "harmonic mean"),
    Metric("ece", "eval_ece", "calibration error"),
)
"""Of an `evaluation.json`, by the keys that `evaluation_runs` gives them; less is better for `ece`."""

TRAINING_LOSS = "The training loss of a re-weighted run is weighted, so it says nothing beside another run's."


def metrics_of(host: Host) -> tuple[Metric, ...]:
    """All numbers of a host's runs and their evaluations: accuracies, those of an evaluation alone, losses."""
    own = {metric.name for metric in host.metrics}
    return (
        *(metric for metric in host.metrics if metric.percent),
        *(metric for metric in EVALUATED if metric.name not in own),
        *(metric for metric in host.metrics if not metric.percent),
    )


STAGES = ("best", "last", "test")
"""Best and last epoch, and the final test."""


@dataclass(frozen=True)
class Cell:
    """A number of a method at a stage.

    Attributes:
        summary: over its runs.
        difference: to the baseline at the same stage; None for the baseline, or where that lacks it.
    """

    summary: Summary
    difference: Difference | None


Table = dict[tuple[str, str, str], Cell]
"""By the names of method, stage and metric; what is not known is not there. Published results are of the stage
`PUBLISHED`, by their own names."""

PUBLISHED = "published"


def fill_table(methods: Sequence[Method], reference: Reference | None, metrics: Sequence[Metric]) -> Table:
    """Computes all numbers."""
    table: Table = {}
    published = {} if reference is None else reference.results
    for metric in metrics:
        one_of = {
            name: summarise([found[metric.name]] if metric.name in found else []) for name, found in published.items()
        }
        theirs = None if reference is None else one_of[reference.baseline]
        for stage in STAGES:
            summaries = {method.name: summary_of(method, stage, metric) for method in methods}
            at_test = theirs if stage == "test" else None
            baseline = summaries[methods[0].name] if len(methods) > 1 else at_test
            for number, (name, summary) in enumerate(summaries.items()):
                is_baseline = len(methods) > 1 and number == 0
                _put(table, (name, stage, metric.name), summary, None if is_baseline else baseline)
        for name, summary in one_of.items():
            is_baseline = reference is not None and name == reference.baseline
            _put(table, (name, PUBLISHED, metric.name), summary, None if is_baseline else theirs)
    return table


def _put(table: Table, key: tuple[str, str, str], summary: Summary | None, baseline: Summary | None) -> None:
    if summary is not None:
        table[key] = Cell(summary, subtract(summary, baseline))


def summary_of(method: Method, stage: str, metric: Metric) -> Summary | None:
    """A number of a method at a stage, over its runs."""
    lines = [line for run in method.runs if (line := run.line(stage)) is not None]
    return summarise([line[metric.key] for line in lines if metric.key in line])


def empty_groups(methods: Sequence[Method], groups: Sequence[Metric]) -> tuple[Metric, ...]:
    """Groups that are 0.0 in every line of every log: most likely groups without test images.

    None where all groups are: then the runs have learnt nothing yet. And none of another host than one that writes 0.0
    for them, nor one of which an evaluation has a number: it has none for a group without images.
    """
    if not methods[0].host.words.empty_groups:
        return ()
    runs = [run for method in methods for run in method.runs]
    tests = [(run.log.test, run.evaluated) for run in runs if run.log.test]
    lines = [line for run in runs for line in run.log.epochs.values()] + [line for line, own in tests if not own]
    known = {key for line, own in tests if own for key in line}
    zero = [metric for metric in groups if {line.get(metric.key) for line in lines} == {0.0}]
    empty = tuple(metric for metric in zero if metric.key not in known)
    return empty if len(empty) < len(groups) else ()


@dataclass(frozen=True)
class Costs:
    """Seconds of one training run; None where its logs do not tell.

    Attributes:
        training: the whole run, as the host printed it.
        passes: sum of the training passes of all epochs in the log.
        per_epoch: median training pass.
        reweight_per_epoch: median time at the end of an epoch for merging the ranks, new weights, writing the arrays;
            0 in a baseline.
    """

    training: float | None
    passes: float | None
    per_epoch: float | None
    reweight_per_epoch: float | None


@dataclass(frozen=True)
class Cost:
    """A time of a run, in words and numbers.

    Attributes:
        name: its name in `Costs`.
        title: in words.
    """

    name: str
    title: str


COSTS = (
    Cost("training", "training time of the run"),
    Cost("passes", "training passes, sum"),
    Cost("per_epoch", "training pass, median epoch"),
    Cost("reweight_per_epoch", "re-weighting, median epoch"),
)
PER_EPOCH, REWEIGHTING = COSTS[-2:]


def costs_of(run: Run) -> Costs:
    """Collects the times of one training run."""
    seconds = run.stdout.epoch_seconds if run.stdout else {}
    passes = [seconds[epoch] for epoch in run.log.epochs if epoch in seconds]
    complete = len(passes) == len(run.log.epochs)
    key = run.host.reweight_seconds
    reweight = [line[key] for line in run.log.epochs.values() if key in line]
    return Costs(
        training=run.stdout.training_seconds if run.stdout else None,
        passes=sum(passes) if passes and complete else None,
        per_epoch=statistics.median(passes) if passes else None,
        reweight_per_epoch=statistics.median(reweight) if reweight else None,
    )


@dataclass(frozen=True)
class Time:
    """A time of a method.

    Attributes:
        summary: seconds over its runs.
        percent: how much longer than the baseline's, in percent of that; None for the baseline, or if unknown. Of the
            re-weighting itself: its share of the method's own training pass.
    """

    summary: Summary
    percent: float | None


Times = dict[tuple[str, str], Time]
"""By the names of method and cost; what is not known is not there."""


def fill_times(methods: Sequence[Method], baseline: Method | None) -> Times:
    """Computes all times."""
    costs = {method.name: [costs_of(run) for run in method.runs] for method in methods}
    summaries = {
        (name, cost.name): summarise([value for one in found if (value := getattr(one, cost.name)) is not None])
        for name, found in costs.items()
        for cost in COSTS
    }
    times = {}
    for (name, cost), summary in summaries.items():
        percent = None
        if cost == REWEIGHTING.name:
            percent = _percent(summary, summaries[name, PER_EPOCH.name])
        elif baseline is not None and name != baseline.name:
            share = _percent(summary, summaries[baseline.name, cost])
            percent = None if share is None else share - 100.0
        if summary is not None:
            times[name, cost] = Time(summary, percent)
    return times


def _percent(part: Summary | None, whole: Summary | None) -> float | None:
    return None if part is None or whole is None or whole.mean <= 0 else 100.0 * part.mean / whole.mean


def epoch_seconds(method: Method) -> dict[int, Summary]:
    """Seconds of the training pass of each epoch, over the runs that tell."""
    known = [run.stdout.epoch_seconds for run in method.runs if run.stdout]
    found = {}
    for epoch in sorted({epoch for seconds in known for epoch in seconds}):
        summary = summarise([seconds[epoch] for seconds in known if epoch in seconds])
        if summary is not None:
            found[epoch] = summary
    return found


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
