"""What a run costs in time, as far as its logs tell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.report.compare.table import Summary, summarise


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
