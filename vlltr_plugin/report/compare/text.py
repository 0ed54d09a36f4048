"""The words around a comparison's tables."""

from __future__ import annotations

from vlltr_plugin.report.compare.comparison import Comparison, empty_groups
from vlltr_plugin.report.compare.costs import COSTS, cost_summary
from vlltr_plugin.report.compare.metrics import TRAINING_LOSS
from vlltr_plugin.report.compare.runs import Seed


def notes_of(comparison: Comparison) -> list[str]:
    """What a reader has to know, one sentence or two each."""
    timed = any(cost_summary(run, cost) for run in comparison.runs for cost in COSTS[:-1])
    words = comparison.host.words
    notes = [
        f"Differences are to {comparison.baseline_name}, in percentage points for accuracies.",
        *words.notes,
        TRAINING_LOSS,
        words.times if timed else words.no_times,
    ]
    if any(len(run.seeds) > 1 for run in comparison.runs):
        notes.append(
            "With several seeds: mean ± standard deviation; a difference has the standard error of the scatter between "
            "seeds, where both sides have two or more."
        )
    empty = empty_groups(comparison.runs)
    if empty:
        notes.append(words.empty_groups.format(groups=", ".join(metric.title for metric in empty)))
    if comparison.trade_offs is not None:
        notes = [*comparison.trade_offs.sentences, *notes]
    notes += [_evaluated(seed) for run in comparison.runs for seed in run.seeds if seed.evaluated]
    for run in comparison.runs:
        tested = sum(seed.log.test is not None for seed in run.seeds)
        if 0 < tested < len(run.seeds):
            notes.append(f"Only {tested} of {len(run.seeds)} seeds of {run.name} have a final test.")
    if comparison.reference is not None:
        notes.append(
            f"Published, {comparison.reference.name} (class volume with its difference to {comparison.host.title}): "
            f"{comparison.reference.source}"
        )
    return notes


def _evaluated(seed: Seed) -> str:
    assert seed.evaluated is not None
    of_epoch = "" if seed.evaluated.epoch is None else f" of epoch {seed.evaluated.epoch}"
    return (
        f"{seed.path} is an evaluation{of_epoch} on {seed.evaluated.images} images of {seed.evaluated.split}; "
        "mean over classes, harmonic mean and calibration error are of the overall prediction."
    )
