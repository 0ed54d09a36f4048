"""The pictures of an inspection: against class size, over the epochs, and the extreme classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.report.inspect.inspection import Inspection, label
from vlltr_plugin.report.inspect.size_relation import EQUAL
from vlltr_plugin.report.pictures import (
    COLOURS,
    GREY,
    band,
    group_marks,
    light_grid,
    new_figure,
    save,
    styled,
    whole_epochs,
)
from vlltr_plugin.runs.epoch_files import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTREMES = 10
LONGEST_NAME = 32


def write_pictures(
    inspection: Inspection, names: list[str] | None, folder: Path, suffix: str = "", run: str = ""
) -> list[Path]:
    """Draws `class_size.png`, `epochs.png` and, where radii were measured, `extremes.png`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with styled():
        figures = {"class_size": _class_size(inspection), "epochs": _epochs(inspection)}
        if inspection.measured and inspection.own.sum() > 1:
            figures["extremes"] = _extremes(inspection, names)
        for figure in figures.values():
            if run:
                figure.suptitle(run + (f", {inspection.logits} logits" if suffix else ""), fontsize=12)
        return [save(figure, folder / f"{name}{suffix}.png") for name, figure in figures.items()]


def _class_size(inspection: Inspection) -> Figure:
    figure = new_figure(8, 4.6)
    panels = figure.subplots(1, 1 + inspection.measured, squeeze=False)[0]
    left = panels[0]
    _scatter(left, inspection, inspection.weights)
    _references(left, inspection)
    left.set(title=f"Weights in force in epoch {inspection.epoch}", ylabel="weight alpha")
    left.legend(loc="lower left")
    if inspection.measured:
        right = panels[1]
        _scatter(right, inspection, inspection.radii)
        _equal_volumes(right, inspection)
        _running_median(right, inspection)
        right.set(title=f"Radii as measured in epoch {inspection.epoch}", ylabel="radius r")
    for axes in panels:
        axes.set(xscale="log", yscale="log", xlabel="training images of the class")
        _plain_ticks(axes)
    marks = group_marks(left, inspection.group, inspection.groups)
    if inspection.measured and inspection.substituted.any():
        marks += left.plot([], [], "o", mfc="none", mec=GREY, label="substituted")
    if inspection.measured:
        marks += right.get_legend_handles_labels()[0]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, columnspacing=1.2, handletextpad=0.4)
    return figure


def _equal_volumes(axes: Axes, inspection: Inspection) -> None:
    """The radii that classes of equal volumes would have on average: fewer samples give smaller radii."""
    if inspection.equal_volumes is None:
        return
    counts = inspection.counts[inspection.own]
    order = np.argsort(counts, kind="stable")
    label = "radii if all volumes were equal"
    axes.plot(counts[order], np.exp(inspection.equal_volumes[order]), "--", color=GREY, lw=1.4, label=label)


def _scatter(axes: Axes, inspection: Inspection, values: Floats) -> None:
    size, opacity = float(np.clip(6000 / len(values), 4, 40)), 0.6 if len(values) > 100 else 1.0
    for group in GROUPS:
        members = inspection.group == group
        own, taken = members & ~inspection.substituted, members & inspection.substituted
        colour = COLOURS[group]
        axes.scatter(inspection.counts[own], values[own], size, c=colour, alpha=opacity, lw=0)
        axes.scatter(inspection.counts[taken], values[taken], size, facecolors="none", edgecolors=colour, lw=0.8)


def _references(axes: Axes, inspection: Inspection) -> None:
    """Weights from the counts alone, with the same mean over the draws."""
    present = inspection.group != ""
    counts, order = inspection.counts[present], np.argsort(inspection.counts[present], kind="stable")
    draws = inspection.draws[present]
    lines = {"1/n": 1 / counts}
    if np.ptp(draws / counts) > EQUAL * (draws / counts).max():
        lines["1/m (m: draws)"] = 1 / np.maximum(draws, np.finfo(float).tiny)
    for (text, shape), style in zip(lines.items(), ("--", ":"), strict=False):
        weights = shape * draws.sum() / (shape * draws).sum()
        axes.plot(counts[order], weights[order], style, color=GREY, lw=1.4, label=text, zorder=0.5)


def _running_median(axes: Axes, inspection: Inspection) -> None:
    """The median radius in slices of equally many classes, largest classes to smallest, where there are enough."""
    indices = np.flatnonzero(inspection.own)
    slices = min(20, len(indices) // 25)
    if slices < 4:
        return
    parts = np.array_split(indices[np.argsort(inspection.counts[indices], kind="stable")], slices)
    medians = [(np.median(inspection.counts[part]), np.median(inspection.radii[part])) for part in parts]
    axes.plot(*np.array(medians).T, color=COLOURS["overall"], label="median radius")


def _epochs(inspection: Inspection) -> Figure:
    """Weights over the epochs; where radii were measured, those and their relation to class size below."""
    measured = inspection.measured
    figure = new_figure(8, 8.0 if measured else 4.0)
    panels = figure.subplots(
        3 if measured else 1, 1, sharex=True, squeeze=False, height_ratios=[3, 3, 2][: 1 + 2 * measured]
    )
    weights, *others = panels[:, 0]
    series = inspection.series
    for group in (name for name in GROUPS if name in inspection.group):
        _quantiles(weights, series.epochs, series.weights[group], COLOURS[group])
        if measured:
            _quantiles(others[0], series.epochs, series.radii[group], COLOURS[group])
    weights.set(title="Weights in force: median of the group's classes, 10 % to 90 % shaded", ylabel="weight alpha")
    if measured:
        others[0].set(title="Radii as measured (substituted classes left out)", ylabel="radius r")
        _correlations(others[1], inspection)
    for axes in (weights, *others[:1]):
        axes.set_yscale("log")
        _plain_ticks(axes)
    panels[-1, 0].set_xlabel("epoch")
    whole_epochs(panels[-1, 0])
    handles = [
        *group_marks(weights, inspection.group, inspection.groups, marker="-"),
        *panels[-1, 0].get_legend_handles_labels()[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3 if len(handles) < 4 else 2)
    return figure


def _correlations(axes: Axes, inspection: Inspection) -> None:
    """Rank correlation of corrected radius and class size, and how far chance would go with equal volumes."""
    series, level = inspection.series, inspection.size.level
    if np.isfinite(level):
        axes.axhspan(-level, level, color="#dddddd", lw=0, zorder=0, label="95 % range if all volumes were equal")
    axes.plot(series.epochs, series.corrected, color=COLOURS["overall"], marker=_marker(series.epochs))
    axes.axhline(0, color=GREY, lw=1)
    axes.set(
        title="Rank correlation of class size and corrected radius (below 0: rare classes are larger)",
        ylabel="Spearman's rho",
        ylim=(-1.05, 1.05),
    )


def _quantiles(axes: Axes, epochs: list[int], rows: list[Floats], colour: str) -> None:
    low, median, high = np.array(rows).T
    band(axes, epochs, low, high, colour)
    axes.plot(epochs, median, color=colour, marker=_marker(epochs))


def _marker(epochs: list[int]) -> str:
    return "o" if len(epochs) < 3 else ""  # a line of one point cannot be seen


def _extremes(inspection: Inspection, names: list[str] | None) -> Figure:
    largest, smallest = inspection.extremes(EXTREMES)
    indices = [*largest, *reversed(smallest)]
    figure = new_figure(8, 1.6 + 0.28 * len(indices))
    axes = figure.subplots()
    for place, index in enumerate(indices):
        colour = COLOURS[str(inspection.group[index])]
        axes.plot(inspection.radii[index], -place, "o", color=colour, ms=8)
        axes.annotate(
            f"n = {inspection.counts[index]}, alpha = {inspection.weights[index]:.3g}",
            (1.0, -place),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axhline(0.5 - len(largest), color=GREY, lw=1)
    shown = [label(names, index) for index in indices]
    shown = [text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…" for text in shown]
    axes.set_yticks([-place for place in range(len(indices))], shown)
    axes.set(
        xscale="log",
        xlabel="radius r",
        title=f"Largest and smallest radii as measured, epoch {inspection.epoch}",
    )
    _plain_ticks(axes, "x")
    light_grid(axes, "x")
    marks = group_marks(axes, inspection.group[indices], inspection.groups)
    figure.legend(handles=marks, loc="outside lower center", ncols=3)
    return figure


def _plain_ticks(axes: Axes, which: str = "xy") -> None:
    """Log axes with numbers like 0.5 and 20 instead of powers of ten, also where they span less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for name in which:
        axis: Any = getattr(axes, f"{name}axis")
        if axis.get_scale() != "log":
            continue
        low, high = sorted(getattr(axes, f"get_{name}lim")())
        decades = np.log10(high / low)
        steps = [1.0] if decades > 4 else [1.0, 3.0] if decades > 2.5 else [1.0, 2.0, 5.0]
        steps = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0] if decades < 1 else steps
        narrow = decades < 0.5
        axis.set_major_locator(MaxNLocator(6) if narrow else LogLocator(10, subs=steps, numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
