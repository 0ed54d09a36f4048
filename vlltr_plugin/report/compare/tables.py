"""The tables of a comparison, and the notes below them."""

from __future__ import annotations

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.report.compare.comparison import COSTS, PUBLISHED, REWEIGHTING, STAGES, TIMES, Comparison
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.compare.settings import early_start, reweight_of
from vlltr_plugin.report.tables import MISSING, Table, plus_minus, signed
from vlltr_plugin.runs.log import KEY

_TRAINING_LOSS = "The training loss of a re-weighted run is weighted, so it cannot be compared with that of other runs."
_UNKNOWN_GROUPS = (
    "The thresholds of many-, medium- and few-shot classes are unknown or differ between runs, so the groups may hold "
    'different classes. Record them with RunRecorder(..., groups="50,10"), or give them here with --groups 50,10.'
)
_SEEDS = (
    "With several seeds, ± is half of the 95 % interval of the mean (Student's t, n - 1 degrees of freedom: two seeds "
    "give a very wide one). A difference has one where both sides have two seeds or more, taken as independent (Welch)."
)


def tables_of(comparison: Comparison) -> list[Table]:
    """The nonempty tables among test, trade-off curve, validation, times and settings."""
    methods, reference = comparison.methods, comparison.reference
    seeds = [f"\n{len(method.runs)} seeds, ± 95 %" if len(method.runs) > 1 else "" for method in methods]
    headings = [method.name + more for method, more in zip(methods, seeds, strict=True)]
    headings += [name.replace(" ", "\n", 1) for name in comparison.published]

    columns = [(method.name, "test") for method in methods] + [(name, PUBLISHED) for name in comparison.published]
    title = "Evaluation (%), validation split"
    if comparison.split == "test":
        evaluated = any(run.evaluated for run in comparison.runs)
        title = "Final test (%)" if evaluated else "Final test (%), after the last epoch"
    tables = [_numbers(comparison, title, headings, columns)]
    if comparison.trade_offs is not None:
        tables.append(comparison.trade_offs.table)

    trained = [method for method in methods if any(run.log.epochs for run in method.runs)]
    stages = [(method, stage) for method in trained for stage in STAGES[:2]]
    title = f"{comparison.host.words.epochs_on.split()[0].capitalize()} accuracy (%), best and last epoch"
    header = [f"{method.name}\n{_epochs(method, stage)}" for method, stage in stages]
    tables.append(_numbers(comparison, title, header, [(method.name, stage) for method, stage in stages]))

    times = []
    for cost, title in COSTS.items():
        cells = [_time_cell(comparison, method, cost) for method in methods]
        published = comparison.published.values()
        known = [one.get("training_seconds") if cost == "training" else None for one in published]
        cells += [MISSING if seconds is None else _clock(seconds) for seconds in known]
        if set(cells) != {MISSING}:
            times.append((title, *cells))
    tables.append(Table("Training time, and overhead over the baseline", ("", *headings), tuple(times)))

    last = [] if reference is None else [reference.name]
    settings = [(KEY, *map(reweight_of, methods), *[MISSING] * len(last))]
    settings += [(setting.name, *setting.values) for setting in comparison.verdict.differing if setting.name != KEY]
    header = ["", *(method.name for method in methods), *last]
    tables.append(Table("Settings that differ", tuple(header), tuple(settings)))
    return [table for table in tables if table.rows]


def notes_of(comparison: Comparison) -> list[str]:
    """Notes below the tables, one or two sentences each."""
    words, reference = comparison.host.words, comparison.reference
    shown = {metric.name for metric in comparison.metrics_at(STAGES)}
    notes = [] if comparison.trade_offs is None else comparison.trade_offs.sentences
    if len(comparison.methods) > 1 or any(run.log.test is not None for run in comparison.runs):
        notes.append(f"Differences are to {comparison.baseline_name}, in percentage points for accuracies.")
    else:
        notes.append(f"Nothing is compared with {comparison.baseline_name}: the run has no final test.")
    notes += [note for metric, note in words.notes_with.items() if metric in shown]
    if any(run.evaluated is None for run in comparison.runs):
        timed = comparison.frame.metrics([TIMES]) - {REWEIGHTING}
        notes += [*words.notes, words.times if timed else words.no_times]
    empty = ", ".join(metric.title for metric in comparison.empty)
    moved = comparison.verdict.moved
    for holds, note in (
        (moved, f"Of the paths of {', '.join(moved)} only the last part was compared; the folders before it differ."),
        ("train_loss" in shown, _TRAINING_LOSS),
        (comparison.groups is None and shown & set(GROUPS), _UNKNOWN_GROUPS),
        (any(len(method.runs) > 1 for method in comparison.methods), _SEEDS),
        (empty, words.empty_groups.format(groups=empty)),
    ):
        if holds:
            notes.append(note)
    evaluated: dict[str, None] = {}
    for run in comparison.runs:
        if run.evaluated:
            of_epoch = "" if run.evaluated.epoch is None else f" of epoch {run.evaluated.epoch}"
            evaluated[f"{run.path}{of_epoch} on {run.evaluated.images} images of {run.evaluated.split}"] = None
    if evaluated:
        about = "Mean over classes, harmonic mean and calibration error are of the overall prediction."
        notes.append(f"Evaluations: {'; '.join(evaluated)}. {about}")
    notes += [note for method in comparison.methods for stage in STAGES if (note := _fewer(comparison, method, stage))]
    for method in comparison.methods:
        advice = dict.fromkeys(early_start(run.host, run.args, len(run.log.epochs)) for run in method.runs)
        notes += [f"{method.name}: {sentence}" for sentence in advice if sentence]
    if reference is not None:
        title = comparison.host.title
        what = f" (class volume with its difference to {title})" if len(reference.results) > 1 else ""
        notes.append(f"Published, {reference.name}{what}: {reference.source}")
    return notes


def _fewer(comparison: Comparison, method: Method, stage: str) -> str:
    """A note on numbers that only some seeds of a method have at a stage; else empty."""
    metrics = [metric for metric in comparison.metrics_at([stage]) if metric not in comparison.empty]
    known = {metric.title: found.n for metric in metrics if (found := comparison.summary(method.name, stage, metric))}
    fewer = {title: n for title, n in known.items() if n < len(method.runs)}
    if not fewer:
        return ""
    if len(set(known.values())) == 1:
        what = "a final test" if stage == "test" else f"accuracies of the {stage} epoch"
        return f"Only {min(fewer.values())} of {len(method.runs)} seeds of {method.name} have {what}."
    means = ", ".join(f"{title} ({n} of {len(method.runs)})" for title, n in fewer.items())
    where = "the final test" if stage == "test" else f"the {stage} epoch"
    return f"Not all seeds of {method.name} have each number of {where}: {means}."


def _numbers(comparison: Comparison, title: str, header: list[str], columns: list[tuple[str, str]]) -> Table:
    """A row for each metric that a run has in any column; a column is a name and a stage."""
    rows = [
        (comparison.title_of(metric), *(_cell(comparison, *column, metric) for column in columns))
        for metric in comparison.metrics_at({stage for _, stage in columns} - {PUBLISHED})
    ]
    return Table(title, ("", *header), tuple(rows))


def _cell(comparison: Comparison, name: str, stage: str, metric: Metric) -> str:
    """A number and its difference from the baseline's; published ones have one digit, as in the paper."""
    summary = comparison.summary(name, stage, metric)
    if summary is None or (metric in comparison.empty and stage != PUBLISHED):
        return MISSING
    digits = 1 if stage == PUBLISHED else 2 if metric.percent else 3
    text = f"{summary.mean:.{digits}f}{plus_minus(summary.half, digits)}"
    difference = comparison.difference(name, stage, metric)
    if difference is None or metric.name == "train_loss":
        return text
    return f"{text}  {signed(difference.value, digits)}{plus_minus(difference.half, digits)}"


def _epochs(method: Method, stage: str) -> str:
    """The stage with its epochs."""
    numbers = [run.best_epoch if stage == "best" else run.last_epoch for run in method.runs]
    shown = sorted({number for number in numbers if number is not None})
    if not shown:  # no epoch has an accuracy
        return stage
    return f"{stage} ({f'{shown[0]} to {shown[-1]}' if len(shown) > 3 else ', '.join(map(str, shown))})"


def _time_cell(comparison: Comparison, method: Method, cost: str) -> str:
    found = comparison.time(method.name, cost)
    if found is None:
        return MISSING
    seconds, percent = found
    whole = cost == "training"  # the host prints whole seconds
    text = _clock(seconds.mean, whole) + ("" if seconds.half is None else f" ±{_clock(seconds.half, whole)}")
    if percent is None:
        return text
    return f"{text}  {percent:.1f}%" if cost == REWEIGHTING else f"{text}  {signed(percent, 1)}%"


def _clock(seconds: float, whole: bool = False) -> str:
    """Formats seconds as `2.2 ms`, `34.5 s` or `1:36:13`; `whole` seconds always have the last form."""
    if seconds < 100 and not whole:
        return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
