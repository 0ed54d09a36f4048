"""The numbers of a comparison, filled once: each method's means over its runs, and differences to the baseline.

Terminal, Markdown, JSON and pictures print this table and compute nothing. Pure functions of runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vlltr_plugin.hosts.host import Metric, Reference
from vlltr_plugin.report.compare.runs import Method

STAGES = ("best", "last", "test")
"""Best and last epoch, and the final test."""


@dataclass(frozen=True)
class Summary:
    """A number over the runs of a method.

    Attributes:
        mean: its mean.
        sd: standard deviation (n - 1); None with one run.
        n: number of runs that have it.
    """

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A method's mean minus the baseline's.

    Attributes:
        value: the difference.
        se: its standard error from the scatter of the runs; None unless both have two or more.
    """

    value: float
    se: float | None


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


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean and standard deviation; None without values. A value that is not finite makes neither finite."""
    if not values:
        return None
    if not all(map(math.isfinite, values)):  # a seed that diverged; `statistics` fails on it
        return Summary(sum(values) / len(values), math.nan if len(values) > 1 else None, len(values))
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def summary_of(method: Method, stage: str, metric: Metric) -> Summary | None:
    """A number of a method at a stage, over its runs."""
    lines = [line for run in method.runs if (line := run.line(stage)) is not None]
    return summarise([line[metric.key] for line in lines if metric.key in line])


def subtract(one: Summary | None, other: Summary | None) -> Difference | None:
    """`one` minus `other`; None where either is missing."""
    if one is None or other is None:
        return None
    if one.sd is None or other.sd is None:
        return Difference(one.mean - other.mean, None)
    return Difference(one.mean - other.mean, math.sqrt(one.sd**2 / one.n + other.sd**2 / other.n))


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
