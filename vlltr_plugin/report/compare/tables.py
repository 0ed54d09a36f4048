"""The tables of a comparison, and the notes below them."""

from __future__ import annotations

from collections.abc import Iterator

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.report.compare.comparison import (
    COSTS,
    PUBLISHED,
    REWEIGHTING,
    STAGES,
    TRAINING_LOSS,
    Comparison,
    Cost,
    has_epochs,
)
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.report.compare.settings import reweight_of
from vlltr_plugin.report.frame import Difference, Summary
from vlltr_plugin.report.tables import MISSING, Table, signed
from vlltr_plugin.runs.log import KEY

_UNKNOWN_GROUPS = (
    "The runs do not all tell the same thresholds of many-, medium- and few-shot classes: their groups may be of other "
    'classes. RunRecorder(..., groups="50,10") records those of your loop; --groups 50,10 tells them here.'
)


def tables_of(comparison: Comparison) -> Iterator[Table]:
    """The tables that have anything to show: test, trade-off curve, validation, times, settings."""
    sheets = [test_table(comparison), validation_table(comparison), time_table(comparison), settings_table(comparison)]
    if comparison.trade_offs is not None:
        sheets.insert(1, comparison.trade_offs.table)
    yield from (sheet for sheet in sheets if sheet.rows)


def test_table(comparison: Comparison) -> Table:
    """The final test, with the published results beside it."""
    rows = [
        (
            comparison.title_of(metric),
            *(_cell(comparison, method, "test", metric) for method in comparison.methods),
            *(_published_cell(comparison, name, metric) for name in comparison.published),
        )
        for metric in comparison.known(["test"])
    ]
    header = ("", *map(_heading, comparison.methods), *_published_headings(comparison))
    title = "Final test (%), after the last epoch" if comparison.split == "test" else "Evaluation (%), validation split"
    return Table(title, header, tuple(rows))


def validation_table(comparison: Comparison) -> Table:
    """Best and last epoch side by side."""
    stages = STAGES[:2]
    methods = [method for method in comparison.methods if has_epochs(method)]
    header = [""] + [f"{method.name}\n{_epochs(method, stage)}" for method in methods for stage in stages]
    rows = [
        (
            comparison.title_of(metric),
            *(_cell(comparison, method, stage, metric) for method in methods for stage in stages),
        )
        for metric in comparison.known(stages)
    ]
    return Table(
        f"Best and last epoch (which) on the {comparison.host.words.epochs_on} (%)", tuple(header), tuple(rows)
    )


def time_table(comparison: Comparison) -> Table:
    """Training time and overhead."""
    rows = []
    for cost in COSTS:
        cells = [_time_cell(comparison, method, cost) for method in comparison.methods]
        results = comparison.reference.results.values() if comparison.reference else ()
        published = [clock(one["training_seconds"]) if cost.name == "training" else MISSING for one in results]
        if {*cells, *published} != {MISSING}:
            rows.append((cost.title, *cells, *published))
    header = ("", *map(_heading, comparison.methods), *_published_headings(comparison))
    return Table("Times, with what is added to the baseline's", header, tuple(rows))


def settings_table(comparison: Comparison) -> Table:
    """The method, and every setting that differs."""
    last = [] if comparison.reference is None else [comparison.reference.name]
    header = ("", *(method.name for method in comparison.methods), *last)
    method = (KEY, *(reweight_of(method) for method in comparison.methods), *[MISSING] * len(last))
    differing = [(setting.name, *setting.values) for setting in comparison.verdict.differing]
    return Table("Settings that differ", header, (method, *differing))


def clock(seconds: float) -> str:
    """Seconds as people read them: `2.2 ms`, `34.5 s`, `1:36:13`."""
    if seconds < 100:
        return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"
    return _whole_clock(seconds)


def _whole_clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def difference_text(difference: Difference, digits: int) -> str:
    """A difference with its sign, and its standard error if known."""
    error = "" if difference.se is None else f" ±{difference.se:.{digits}f}"
    return signed(difference.value, digits) + error


def _heading(method: Method) -> str:
    return method.name if len(method.runs) == 1 else f"{method.name}\n{len(method.runs)} seeds, mean ± sd"


def _epochs(method: Method, stage: str) -> str:
    numbers = [run.best_epoch if stage == "best" else run.last_epoch for run in method.runs]
    shown = sorted({number for number in numbers if number is not None})
    if not shown:  # no accuracy in any epoch
        return stage
    if len(shown) > 3:
        return f"{stage} ({shown[0]} to {shown[-1]})"
    return f"{stage} ({', '.join(map(str, shown))})"


def _cell(comparison: Comparison, method: Method, stage: str, metric: Metric) -> str:
    """A number and how far it is from the baseline's."""
    summary = comparison.summary(method.name, stage, metric)
    if summary is None or metric in comparison.empty:
        return MISSING
    digits = 2 if metric.percent else 3
    text = _mean_text(summary, digits)
    difference = comparison.difference(method.name, stage, metric)
    if difference is None or metric.name == "train_loss":
        return text
    return f"{text}  {difference_text(difference, digits)}"


def _mean_text(summary: Summary, digits: int) -> str:
    return f"{summary.mean:.{digits}f}" + ("" if summary.sd is None else f" ±{summary.sd:.{digits}f}")


def _time_cell(comparison: Comparison, method: Method, cost: Cost) -> str:
    time = comparison.times.get((method.name, cost.name))
    if time is None:
        return MISSING
    summary, percent = time.summary, time.percent
    show = clock if cost.name != "training" else _whole_clock  # the host prints that one in whole seconds
    text = show(summary.mean) + ("" if summary.sd is None else f" ±{show(summary.sd)}")
    if percent is None:
        return text
    return f"{text}  {percent:.1f}%" if cost == REWEIGHTING else f"{text}  {signed(percent, 1)}%"


def _published_headings(comparison: Comparison) -> list[str]:
    return [name.replace(" ", "\n", 1) for name in comparison.published]


def _published_cell(comparison: Comparison, name: str, metric: Metric) -> str:
    """A published number; class volume's with its difference to the published baseline."""
    summary = comparison.summary(name, PUBLISHED, metric)
    if summary is None:
        return MISSING
    difference = comparison.difference(name, PUBLISHED, metric)
    return f"{summary.mean:.1f}" + ("" if difference is None else f"  {signed(difference.value, 1)}")


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
