"""The tables of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.report.compare.comparison import (
    STAGES,
    Comparison,
    Difference,
    Summary,
    empty_groups,
    has_epochs,
    shown_metrics,
    summary_of,
)
from vlltr_plugin.report.compare.costs import COSTS, REWEIGHTING, Cost, cost_summary, overhead
from vlltr_plugin.report.compare.runs import Run
from vlltr_plugin.report.compare.settings import METHOD, method_of
from vlltr_plugin.report.sheets import Sheet

MISSING = "-"


def sheets_of(comparison: Comparison) -> Iterator[Sheet]:
    """The tables that have anything to show: test, trade-off curve, validation, times, settings."""
    sheets = [test_sheet(comparison), validation_sheet(comparison), time_sheet(comparison), settings_sheet(comparison)]
    if comparison.trade_offs is not None:
        sheets.insert(1, comparison.trade_offs.sheet)
    yield from (sheet for sheet in sheets if sheet.rows)


def test_sheet(comparison: Comparison) -> Sheet:
    """The final test, with the published results beside it."""
    rows = [
        (
            metric.title,
            *(_cell(comparison, run, "test", metric) for run in comparison.runs),
            *_published_cells(comparison, metric),
        )
        for metric in shown_metrics(comparison.runs, ["test"])
    ]
    header = ("", *map(_heading, comparison.runs), *_published_headings(comparison))
    title = "Final test (%), after the last epoch" if comparison.split == "test" else "Evaluation (%), validation split"
    return Sheet(title, header, tuple(rows))


def validation_sheet(comparison: Comparison) -> Sheet:
    """Best and last epoch side by side."""
    stages = STAGES[:2]
    runs = [run for run in comparison.runs if has_epochs(run)]
    header = [""] + [f"{run.name}\n{_epochs(run, stage)}" for run in runs for stage in stages]
    rows = [
        (metric.title, *(_cell(comparison, run, stage, metric) for run in runs for stage in stages))
        for metric in shown_metrics(runs, stages)
    ]
    return Sheet(
        f"Best and last epoch (which) on the {comparison.host.words.epochs_on} (%)", tuple(header), tuple(rows)
    )


def time_sheet(comparison: Comparison) -> Sheet:
    """Training time and overhead."""
    rows = []
    for cost in COSTS:
        cells = [_time_cell(run, comparison.baseline, cost) for run in comparison.runs]
        published = [
            clock(values["training_seconds"]) if cost.name == "training" else MISSING
            for values in _published(comparison)
        ]
        if {*cells, *published} != {MISSING}:
            rows.append((cost.title, *cells, *published))
    header = ("", *map(_heading, comparison.runs), *_published_headings(comparison))
    return Sheet("Times, with what is added to the baseline's", header, tuple(rows))


def settings_sheet(comparison: Comparison) -> Sheet:
    """The method, and every setting that differs."""
    last = [] if comparison.reference is None else [comparison.reference.name]
    header = ("", *(run.name for run in comparison.runs), *last)
    method = (METHOD, *(method_of(run) for run in comparison.runs), *[MISSING] * len(last))
    differing = [(setting.name, *setting.values) for setting in comparison.verdict.differing]
    return Sheet("Settings that differ", header, (method, *differing))


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


def signed(value: float, digits: int) -> str:
    """A number with its sign; zero is never negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _heading(run: Run) -> str:
    return run.name if len(run.seeds) == 1 else f"{run.name}\n{len(run.seeds)} seeds, mean ± sd"


def _epochs(run: Run, stage: str) -> str:
    numbers = [seed.best_epoch if stage == "best" else seed.last_epoch for seed in run.seeds]
    shown = sorted({number for number in numbers if number is not None})
    if len(shown) > 3:
        return f"{stage} ({shown[0]} to {shown[-1]})"
    return f"{stage} ({', '.join(map(str, shown))})"


def _cell(comparison: Comparison, run: Run, stage: str, metric: Metric) -> str:
    """A number and how far it is from the baseline's."""
    summary = summary_of(run, stage, metric)
    if summary is None or metric in empty_groups(comparison.runs):
        return MISSING
    digits = 2 if metric.percent else 3
    text = _mean_text(summary, digits)
    difference = comparison.difference(run, stage, metric)
    if difference is None or metric.name == "train_loss":
        return text
    return f"{text}  {difference_text(difference, digits)}"


def _mean_text(summary: Summary, digits: int) -> str:
    return f"{summary.mean:.{digits}f}" + ("" if summary.sd is None else f" ±{summary.sd:.{digits}f}")


def _time_cell(run: Run, baseline: Run | None, cost: Cost) -> str:
    summary = cost_summary(run, cost)
    if summary is None:
        return MISSING
    show = clock if cost.name != "training" else _whole_clock  # the host prints that one in whole seconds
    text = show(summary.mean) + ("" if summary.sd is None else f" ±{show(summary.sd)}")
    percent = overhead(run, baseline, cost)
    if percent is None:
        return text
    return f"{text}  {percent:.1f}%" if cost == REWEIGHTING else f"{text}  {signed(percent, 1)}%"


def _published(comparison: Comparison) -> list[dict[str, float]]:
    return [] if comparison.reference is None else list(comparison.reference.results.values())


def _published_headings(comparison: Comparison) -> list[str]:
    return [] if comparison.reference is None else [name.replace(" ", "\n", 1) for name in comparison.reference.results]


def _published_cells(comparison: Comparison, metric: Metric) -> list[str]:
    """The published numbers; class volume's with its difference to the published baseline."""
    values = [results.get(metric.name) for results in _published(comparison)]
    texts = [MISSING if value is None else f"{value:.1f}" for value in values]
    if values and None not in values:
        assert values[0] is not None
        assert values[1] is not None
        texts[1] += f"  {signed(values[1] - values[0], 1)}"
    return texts
