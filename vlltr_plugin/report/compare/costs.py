"""What a run cost in time, as far as its logs tell."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from vlltr_plugin.report.compare.comparison import Summary, summarise
from vlltr_plugin.report.compare.runs import Run, Seed


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


def costs_of(seed: Seed) -> Costs:
    """Collect the times of one training run."""
    seconds = seed.stdout.epoch_seconds if seed.stdout else {}
    passes = [seconds[epoch] for epoch in seed.log.epochs if epoch in seconds]
    complete = len(passes) == len(seed.log.epochs)
    key = seed.host.reweight_seconds
    reweight = [line[key] for line in seed.log.epochs.values() if key in line]
    return Costs(
        training=seed.stdout.training_seconds if seed.stdout else None,
        passes=sum(passes) if passes and complete else None,
        per_epoch=statistics.median(passes) if passes else None,
        reweight_per_epoch=statistics.median(reweight) if reweight else None,
    )


def cost_summary(run: Run, cost: Cost) -> Summary | None:
    """A time of a run, over its seeds."""
    values = [getattr(costs_of(seed), cost.name) for seed in run.seeds]
    return summarise([value for value in values if value is not None])


def overhead(run: Run, baseline: Run | None, cost: Cost) -> float | None:
    """How much longer a run took than the baseline, in percent of the baseline's time; None if that is unknown.

    For the re-weighting itself: its share of the run's own training pass.
    """
    if cost == REWEIGHTING:
        return _percent(cost_summary(run, cost), cost_summary(run, PER_EPOCH))
    if baseline is None or run is baseline:
        return None
    share = _percent(cost_summary(run, cost), cost_summary(baseline, cost))
    return None if share is None else share - 100.0


def _percent(part: Summary | None, whole: Summary | None) -> float | None:
    return None if part is None or whole is None or whole.mean <= 0 else 100.0 * part.mean / whole.mean


def epoch_seconds(run: Run) -> dict[int, Summary]:
    """Seconds of the training pass of each epoch, over the seeds that tell."""
    known = [seed.stdout.epoch_seconds for seed in run.seeds if seed.stdout]
    found = {}
    for epoch in sorted({epoch for seconds in known for epoch in seconds}):
        summary = summarise([seconds[epoch] for seconds in known if epoch in seconds])
        if summary is not None:
            found[epoch] = summary
    return found
