"""The pictures of a comparison.

Bars and lines have the colour of their group of classes, with hatches and line styles for the runs; lines of several
seeds have that of their run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.report.compare.comparison import PUBLISHED, Comparison, curve, epoch_seconds, has_epochs
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.evaluate.pictures import RUN_COLOURS, draw_curves
from vlltr_plugin.report.frame import Summary
from vlltr_plugin.report.pictures import COLOURS, light_grid, new_figure, save, styled
from vlltr_plugin.report.tables import signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES: tuple[Any, ...] = ("--", "-", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
HATCHES = ("", "///", "...", "xxx", "ooo")
GREY = "#444444"
BAR = 0.8  # of the room of a group that its bars take


def draw_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Draws what the logs allow into a folder.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    makers: dict[str, Callable[[Comparison], Figure | None]] = {
        "groups.png": draw_groups,
        "accuracy.png": draw_accuracy,
        "tradeoff.png": draw_trade_offs,
        "time.png": draw_times,
    }
    with styled():
        figures = {name: make(comparison) for name, make in makers.items()}
        return [save(figure, folder / name) for name, figure in figures.items() if figure is not None]


def shown(comparison: Comparison) -> tuple[Metric, ...]:
    """Overall accuracy and that of the three groups."""
    return (comparison.host.overall, *comparison.host.groups[: len(GROUPS)])


def draw_accuracy(comparison: Comparison) -> Figure | None:
    """Accuracy over the epochs: a panel for overall and each group, a line for each run."""
    if not any(curve(method, metric) for method in comparison.methods for metric in shown(comparison)):
        return None
    figure = new_figure(8.0, 6.0)
    panels = figure.subplots(2, 2, sharex=True).flat
    for axes, metric in zip(panels, shown(comparison), strict=True):
        axes.set_title(comparison.title_of(metric), color=COLOURS[metric.name], fontweight="bold")
        for number, method in enumerate(comparison.methods):
            colour = _colour(number) if _has_seeds(comparison) else COLOURS[metric.name]
            _line(axes, curve(method, metric), number, colour, _best_epochs(method))
        if metric in comparison.empty:
            axes.text(0.5, 0.5, "no test images", transform=axes.transAxes, ha="center", va="center", color=GREY)
        _whole_epochs(axes)
        light_grid(axes)
    figure.suptitle("Accuracy over the epochs", fontsize=12)
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel(f"top-1 accuracy, {comparison.host.words.epochs_on} (%)", fontsize=11)
    _legend(figure, comparison, [has_epochs(method) for method in comparison.methods], marked=True)
    return figure


def draw_groups(comparison: Comparison) -> Figure | None:
    """Bars of each group's accuracy, with the difference to the baseline above them."""
    overall, *groups = shown(comparison)
    tested = all(comparison.summary(method.name, "test", overall) for method in comparison.methods)
    stage = "test" if tested else "last"
    bars = _bars(comparison, stage)
    if not bars:
        return None
    metrics = [metric for metric in (*groups, overall) if metric not in comparison.empty]
    figure = new_figure(max(8.0, 0.5 * len(bars) * len(metrics) + 1.5), 4.6)
    axes = figure.subplots()
    width = BAR / len(bars)
    for place, metric in enumerate(metrics):
        for number, (_, values, labels) in enumerate(bars):
            if metric.name in values:
                x = place + (number + 0.5) * width - BAR / 2
                _bar(axes, x, width, values[metric.name], labels[metric.name], COLOURS[metric.name], number)
    axes.set_xticks(range(len(metrics)), [comparison.title_of(metric).replace(" (", "\n(") for metric in metrics])
    axes.set_title(f"Accuracy by group of classes; numbers with a sign: minus {comparison.baseline_name}")
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, _highest(value for _, values, _ in bars for value in values.values()) * 1.1 + 1)
    where = f"{comparison.split} split" if stage == "test" else f"{comparison.host.words.epochs_on}, last epoch"
    axes.set_ylabel(f"top-1 accuracy, {where} (%)")
    light_grid(axes)
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=_face(GREY, number), edgecolor=GREY, hatch=_hatch(number), label=name)
        for number, (name, _, _) in enumerate(bars)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=_columns(handles))
    return figure


def draw_trade_offs(comparison: Comparison) -> Figure | None:
    """Few- against many-shot accuracy, a curve for each evaluated run."""
    curves = [] if comparison.trade_offs is None else [curve for curve in comparison.trade_offs.curves if curve[1]]
    return draw_curves(curves, comparison.split, comparison.groups) if curves else None


def draw_times(comparison: Comparison) -> Figure | None:
    """Seconds of the training pass of each epoch, if the logs tell."""
    times = [epoch_seconds(method) for method in comparison.methods]
    if not any(times):
        return None
    figure = new_figure(8.0, 3.6)
    axes = figure.subplots()
    for number, seconds in enumerate(times):
        _line(axes, seconds, number, _colour(number), set())
    axes.set_ylim(0, 1.08 * _highest(value for seconds in times for value in seconds.values()) or None)
    _whole_epochs(axes)
    axes.set(title="Training pass of each epoch", xlabel="epoch", ylabel="seconds")
    light_grid(axes)
    _legend(figure, comparison, [bool(seconds) for seconds in times], marked=False)
    return figure


def _highest(summaries: Iterable[Summary]) -> float:
    """The upper end of the highest bar or band; 0 where none is finite."""
    return max((end for one in summaries if isfinite(end := one.mean + (one.sd or 0.0))), default=0.0)


def _line(axes: Axes, values: Mapping[int, Summary], number: int, colour: str, marked: set[int]) -> None:
    """One run's line; a band of one standard deviation with several seeds, markers at its best epochs."""
    if not values:
        return
    epochs = list(values)
    means = [value.mean for value in values.values()]
    few = "." if len(epochs) == 1 else ""
    axes.plot(epochs, means, color=colour, linestyle=LINES[number % len(LINES)], marker=few)
    sds = [value.sd or 0.0 for value in values.values()]
    if any(sds):
        low, high = ([m + sign * sd for m, sd in zip(means, sds, strict=True)] for sign in (-1, 1))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
    for epoch in marked & set(values):
        axes.plot(epoch, values[epoch].mean, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=7)


def _whole_epochs(axes: Axes) -> None:
    """No ticks between two epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _best_epochs(method: Method) -> set[int]:
    """The best epoch; of several seeds none, since each has its own."""
    best = method.runs[0].best_epoch
    return set() if best is None or len(method.runs) > 1 else {best}


def _legend(figure: Figure, comparison: Comparison, drawn: list[bool], marked: bool) -> None:
    """The runs that were drawn, by line style, and by colour unless that is a group's."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=GREY if marked and not _has_seeds(comparison) else _colour(number),
            linestyle=LINES[number % len(LINES)],
            marker=MARKERS[number % len(MARKERS)] if marked and len(method.runs) == 1 else "",
            label=method.name,
        )
        for number, method in enumerate(comparison.methods)
        if drawn[number]
    ]
    title = "marker: best epoch" if marked and any(handle.get_marker() for handle in handles) else None
    figure.legend(handles=handles, loc="outside upper center", ncols=_columns(handles), title=title)


def _has_seeds(comparison: Comparison) -> bool:
    """Whether there are bands between the lines: then runs have a colour each, beside their line style."""
    return any(len(method.runs) > 1 for method in comparison.methods)


def _colour(number: int) -> str:
    return RUN_COLOURS[number % len(RUN_COLOURS)]


def _columns(handles: Sequence[object]) -> int:
    """Columns of a legend: one row up to three entries, else two rows."""
    return len(handles) if len(handles) <= 3 else (len(handles) + 1) // 2


def _bars(comparison: Comparison, stage: str) -> list[tuple[str, dict[str, Summary], dict[str, str]]]:
    """For each run and published result: its name, values by metric, and labels (differences, or values)."""
    bars = []
    for method in comparison.methods:
        values = {m.name: summary for m in shown(comparison) if (summary := comparison.summary(method.name, stage, m))}
        differences = {m.name: comparison.difference(method.name, stage, m) for m in shown(comparison)}
        labels = {
            name: f"{value.mean:.1f}" if (more := differences[name]) is None else signed(more.value, 1)
            for name, value in values.items()
        }
        bars.append((method.name, values, labels))
    if comparison.reference is not None and stage == "test":
        for name in comparison.published:
            values = {m.name: summary for m in shown(comparison) if (summary := comparison.summary(name, PUBLISHED, m))}
            bars.append((name, values, {key: f"{value.mean:.1f}" for key, value in values.items()}))
    return [bar for bar in bars if bar[1]]


def _bar(axes: Axes, x: float, width: float, value: Summary, label: str, colour: str, number: int) -> None:
    face, hatch = _face(colour, number), _hatch(number)
    axes.bar(x, value.mean, 0.92 * width, edgecolor=colour, facecolor=face, hatch=hatch, linewidth=1.2)
    top = value.mean + (value.sd or 0.0)
    if value.sd is not None:
        axes.errorbar(x, value.mean, value.sd, color=GREY, capsize=3, linewidth=1.2)
    axes.annotate(label, (x, top), xytext=(0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=9.5)


def _face(colour: str, number: int) -> str:
    """The first bar is hollow, the second full, further ones hatched on white."""
    return colour if number == 1 else "white"


def _hatch(number: int) -> str:
    return "" if number <= 1 else HATCHES[1 + (number - 2) % (len(HATCHES) - 1)]
