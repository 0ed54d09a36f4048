"""The tables of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.report.compare.comparison import Comparison, has_epochs
from vlltr_plugin.report.compare.costs import COSTS, REWEIGHTING, Cost
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.compare.settings import reweight_of
from vlltr_plugin.report.compare.table import PUBLISHED, STAGES, Difference, Summary
from vlltr_plugin.report.sheets import Sheet
from vlltr_plugin.runs.log import KEY

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
            comparison.title_of(metric),
            *(_cell(comparison, method, "test", metric) for method in comparison.methods),
            *(_published_cell(comparison, name, metric) for name in comparison.published),
        )
        for metric in comparison.known(["test"])
    ]
    header = ("", *map(_heading, comparison.methods), *_published_headings(comparison))
    title = "Final test (%), after the last epoch" if comparison.split == "test" else "Evaluation (%), validation split"
    return Sheet(title, header, tuple(rows))


def validation_sheet(comparison: Comparison) -> Sheet:
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
    return Sheet(
        f"Best and last epoch (which) on the {comparison.host.words.epochs_on} (%)", tuple(header), tuple(rows)
    )


def time_sheet(comparison: Comparison) -> Sheet:
    """Training time and overhead."""
    rows = []
    for cost in COSTS:
        cells = [_time_cell(comparison, method, cost) for method in comparison.methods]
        results = comparison.reference.results.values() if comparison.reference else ()
        published = [clock(one["training_seconds"]) if cost.name == "training" else MISSING for one in results]
        if {*cells, *published} != {MISSING}:
            rows.append((cost.title, *cells, *published))
    header = ("", *map(_heading, comparison.methods), *_published_headings(comparison))
    return Sheet("Times, with what is added to the baseline's", header, tuple(rows))


def settings_sheet(comparison: Comparison) -> Sheet:
    """The method, and every setting that differs."""
    last = [] if comparison.reference is None else [comparison.reference.name]
    header = ("", *(method.name for method in comparison.methods), *last)
    method = (KEY, *(reweight_of(method) for method in comparison.methods), *[MISSING] * len(last))
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
