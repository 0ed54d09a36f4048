"""The pictures of a comparison.

Lines have their run's colour and dash, bars the colour of their group of classes and their run's hatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.report.compare.comparison import PASS_SECONDS, PUBLISHED, Comparison
from vlltr_plugin.report.frame import Summary
from vlltr_plugin.report.pictures import (
    COLOURS,
    GREY,
    band,
    legend_above,
    light_grid,
    new_figure,
    run_style,
    save,
    styled,
    whole_epochs,
)
from vlltr_plugin.report.tables import signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("///", "...", "xxx", "ooo", "\\\\\\", "+++", "|||", "---", "**", "OO")
TINT = "#dddddd"  # behind the hatches once they repeat
BAR = 0.8  # fraction of a group's width that its bars take


def draw_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Draws the pictures that the logs have data for; MissingExtraError without matplotlib."""
    curves = [] if comparison.trade_offs is None else [curve for curve in comparison.trade_offs.curves if curve[1]]
    with styled():
        figures = {"groups.png": draw_groups(comparison), "accuracy.png": draw_accuracy(comparison)}
        if curves:
            from vlltr_plugin.report.evaluate.pictures import draw_curves  # not for logs

            figures["tradeoff.png"] = draw_curves(curves, comparison.split, comparison.groups)
        figures["time.png"] = draw_times(comparison)
        return [save(figure, folder / name) for name, figure in figures.items() if figure is not None]


def draw_accuracy(comparison: Comparison) -> Figure | None:
    """Accuracy over the epochs: a panel for overall and each group in the logs, a line for each run."""
    frame, methods = comparison.frame, comparison.methods
    found = {metric: [frame.over_epochs(one.name, metric.name) for one in methods] for metric in _metrics(comparison)}
    shown = {metric: curves for metric, curves in found.items() if any(curves)}
    if not shown:
        return None
    rows = (len(shown) + 1) // 2
    figure = new_figure(8.0, (3.6, 6.0)[rows - 1])
    panels = list(figure.subplots(rows, min(len(shown), 2), sharex=True, squeeze=False).flat)
    for axes in panels[len(shown) :]:
        axes.remove()
    for axes, (metric, of_methods) in zip(panels, shown.items(), strict=False):
        axes.set_title(comparison.title_of(metric), color=COLOURS[metric.name], fontweight="bold")
        for number, (method, curve) in enumerate(zip(methods, of_methods, strict=True)):
            best = (
                method.runs[0].best_epoch if len(method.runs) == 1 else None
            )  # with several seeds, each seed has its own best epoch
            _line(axes, curve, method.name, run_style(number), best)
        if metric in comparison.empty:
            axes.text(
                0.5,
                0.7,
                "0.0 in every line of the logs",
                transform=axes.transAxes,
                ha="center",
                va="center",
                color=GREY,
            )
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))  # with two seeds, an interval may exceed 0 to 100 %
        whole_epochs(axes)
        light_grid(axes)
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel(f"top-1 accuracy, {comparison.host.words.epochs_on} (%)", fontsize=11)
    lines = panels[0].get_legend_handles_labels()[0]
    marked = "; marker: best epoch" if any(line.get_marker() for line in lines) else ""
    legend_above(figure, lines, f"Accuracy over the epochs{marked}")
    return figure


def draw_groups(comparison: Comparison) -> Figure | None:
    """Bars of each group's accuracy, with the difference from the baseline above them."""
    overall, *groups = _metrics(comparison)
    tested = all(comparison.summary(method.name, "test", overall) for method in comparison.methods)
    stage = "test" if tested else "last"
    columns = [(method.name, stage) for method in comparison.methods]
    columns += [(name, PUBLISHED) for name in comparison.published if tested]
    bars = [bar for bar in columns if any(comparison.summary(*bar, metric) for metric in (*groups, overall))]
    if not bars:
        return None
    known = [metric for metric in (*groups, overall) if metric not in comparison.empty]
    metrics = [metric for metric in known if any(comparison.summary(*bar, metric) for bar in bars)]
    figure = new_figure(max(8.0, 0.5 * len(bars) * len(metrics) + 1.5), 4.6)
    axes = figure.subplots()
    width = BAR / len(bars)
    highest = 0.0
    for place, metric in enumerate(metrics):
        for number, (name, at) in enumerate(bars):
            value = comparison.summary(name, at, metric)
            if value is not None:
                more = None if at == PUBLISHED else comparison.difference(name, at, metric)
                label = f"{value.mean:.1f}" if more is None else signed(more.value, 1)
                x = place + (number + 0.5) * width - BAR / 2
                top = _bar(axes, x, 0.92 * width, value, label, _bar_style(COLOURS[metric.name], number))
                highest = max(highest, top if isfinite(top) else 0.0)
    axes.set_xticks(range(len(metrics)), [comparison.title_of(metric).replace(" (", "\n(") for metric in metrics])
    if len(metrics) == 1:
        axes.set_xlim(-1.5, 1.5)
    shown = "Accuracy by group of classes" if len(metrics) > 1 else "Accuracy"
    axes.set_title(f"{shown}; numbers with a sign: minus {comparison.baseline_name}")
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.1 * highest + 1)
    where = f"{comparison.split} split" if tested else f"{comparison.host.words.epochs_on}, last epoch"
    axes.set_ylabel(f"top-1 accuracy, {where} (%)")
    light_grid(axes)
    from matplotlib.patches import Patch

    legend_above(figure, [Patch(label=name, **_bar_style(GREY, n)) for n, (name, _) in enumerate(bars)])
    return figure


def draw_times(comparison: Comparison) -> Figure | None:
    """Seconds of the training pass of each epoch, if the logs have them."""
    times = [comparison.frame.over_epochs(method.name, PASS_SECONDS) for method in comparison.methods]
    if not any(times):
        return None
    figure = new_figure(8.0, 3.6)
    axes = figure.subplots()
    for number, (method, seconds) in enumerate(zip(comparison.methods, times, strict=True)):
        _line(axes, seconds, method.name, run_style(number))
    ends = [min(one.mean + (one.half or 0.0), 1.5 * one.mean) for seconds in times for one in seconds.values()]
    axes.set_ylim(0, 1.08 * max(filter(isfinite, ends), default=0.0) or None)
    axes.set(title="Training pass of each epoch", xlabel="epoch", ylabel="seconds")
    whole_epochs(axes)
    light_grid(axes)
    legend_above(figure, axes.get_legend_handles_labels()[0])
    return figure


def _metrics(comparison: Comparison) -> tuple[Metric, ...]:
    """Overall accuracy and that of the three groups."""
    return (comparison.host.overall, *comparison.host.groups[: len(GROUPS)])


def _line(axes: Axes, values: Mapping[int, Summary], name: str, style: dict[str, Any], best: int | None = None) -> None:
    """One run's mean over its seeds, with a band for the interval, and a mark at the best epoch or a single epoch."""
    most = max((value.n for value in values.values()), default=0)
    values = {epoch: value for epoch, value in values.items() if value.n == most}  # a seed that ends earlier is missed
    if not values:
        return
    epochs, means = list(values), [value.mean for value in values.values()]
    marked = [place for place, epoch in enumerate(epochs) if epoch == best or len(epochs) == 1]
    axes.plot(epochs, means, label=name, **style | ({"markevery": marked} if marked else {"marker": ""}))
    halves = [nan if value.half is None else value.half for value in values.values()]
    if any(map(isfinite, halves)):
        low, high = ([m + sign * half for m, half in zip(means, halves, strict=True)] for sign in (-1, 1))
        band(axes, epochs, low, high, style["color"])


def _bar(axes: Axes, x: float, width: float, value: Summary, label: str, style: Mapping[str, Any]) -> float:
    """A bar with its interval, cut at 0 and 100 %, and a label above; returns the upper end."""
    axes.bar(x, value.mean, width, linewidth=1.2, **style)
    low, high = (max(0.0, min(value.half or 0.0, room)) for room in (value.mean, 100.0 - value.mean))
    if value.half is not None:
        axes.errorbar(x, value.mean, [[low], [high]], color=GREY, capsize=3, linewidth=1.2)
    top = value.mean + high
    axes.annotate(label, (x, top), xytext=(0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=9.5)
    return top


def _bar_style(colour: str, number: int) -> dict[str, Any]:
    """The first bar is hollow, the second filled, further ones hatched on white, then on grey."""
    if number <= 1:
        return {"edgecolor": colour, "facecolor": ("white", colour)[number], "hatch": ""}
    again, hatch = divmod(number - 2, len(HATCHES))
    return {"edgecolor": colour, "facecolor": TINT if again else "white", "hatch": HATCHES[hatch]}
