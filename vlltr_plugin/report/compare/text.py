"""The words around a comparison's tables."""

from __future__ import annotations

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.report.compare.comparison import Comparison
from vlltr_plugin.report.compare.costs import REWEIGHTING
from vlltr_plugin.report.compare.metrics import TRAINING_LOSS
from vlltr_plugin.report.compare.runs import Run
from vlltr_plugin.report.compare.table import STAGES

_UNKNOWN_GROUPS = (
    "The runs do not all tell the same thresholds of many-, medium- and few-shot classes: their groups may be of other "
    'classes. RunRecorder(..., groups="50,10") records those of your loop; --groups 50,10 tells them here.'
)


def notes_of(comparison: Comparison) -> list[str]:
    """What a reader has to know, one sentence or two each."""
    timed = any(cost != REWEIGHTING.name for _, cost in comparison.times)
    words = comparison.host.words
    shown = {metric.name for metric in comparison.known(STAGES)}
    notes = [
        f"Differences are to {comparison.baseline_name}, in percentage points for accuracies.",
        *(note for metric, note in words.notes_with.items() if metric in shown),
        *words.notes,
        TRAINING_LOSS,
        words.times if timed else words.no_times,
    ]
    if comparison.groups is None and shown & set(GROUPS):
        notes.append(_UNKNOWN_GROUPS)
    if any(len(method.runs) > 1 for method in comparison.methods):
        notes.append(
            "With several seeds: mean ± standard deviation; a difference has the standard error of the scatter between "
            "seeds, where both sides have two or more."
        )
    if comparison.empty:
        notes.append(words.empty_groups.format(groups=", ".join(metric.title for metric in comparison.empty)))
    if comparison.trade_offs is not None:
        notes = [*comparison.trade_offs.sentences, *notes]
    notes += [_evaluated(run) for method in comparison.methods for run in method.runs if run.evaluated]
    for method in comparison.methods:
        tested = sum(run.log.test is not None for run in method.runs)
        if 0 < tested < len(method.runs):
            notes.append(f"Only {tested} of {len(method.runs)} seeds of {method.name} have a final test.")
    if comparison.reference is not None:
        notes.append(
            f"Published, {comparison.reference.name} (class volume with its difference to {comparison.host.title}): "
            f"{comparison.reference.source}"
        )
    return notes


def _evaluated(run: Run) -> str:
    assert run.evaluated is not None
    of_epoch = "" if run.evaluated.epoch is None else f" of epoch {run.evaluated.epoch}"
    return (
        f"{run.path} is an evaluation{of_epoch} on {run.evaluated.images} images of {run.evaluated.split}; "
        "mean over classes, harmonic mean and calibration error are of the overall prediction."
    )
