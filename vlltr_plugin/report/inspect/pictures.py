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
    """Draws `class_size.png`, `epochs.png` and, if radii were measured, `extremes.png`."""
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
    _weights_and_size(panels[0], inspection)
    if inspection.measured:
        _radii_and_size(panels[1], inspection)
    for axes in panels:
        axes.set(xscale="log", yscale="log", xlabel="training images of the class")
        _plain_ticks(axes)
    marks = group_marks(panels[0], inspection.group, inspection.groups)
    if inspection.measured and inspection.substituted.any():
        marks += panels[0].plot([], [], "o", mfc="none", mec=GREY, label="substituted")
    if inspection.measured:
        marks += panels[1].get_legend_handles_labels()[0]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, columnspacing=1.2, handletextpad=0.4)
    return figure


def _scatter(axes: Axes, inspection: Inspection, values: Floats) -> None:
    size, opacity = float(np.clip(6000 / len(values), 4, 40)), 0.6 if len(values) > 100 else 1.0
    for group in GROUPS:
        members = inspection.group == group
        own, taken = members & ~inspection.substituted, members & inspection.substituted
        colour = COLOURS[group]
        axes.scatter(inspection.counts[own], values[own], size, c=colour, alpha=opacity, lw=0)
        axes.scatter(inspection.counts[taken], values[taken], size, facecolors="none", edgecolors=colour, lw=0.8)


def _weights_and_size(axes: Axes, inspection: Inspection) -> None:
    """Plots the weights, and the weights from counts alone with the same mean over the draws."""
    _scatter(axes, inspection, inspection.weights)
    present = inspection.group != ""
    counts, order = inspection.counts[present], np.argsort(inspection.counts[present], kind="stable")
    draws = inspection.draws[present]
    lines = {"1/n": 1 / counts}
    if np.ptp(draws / counts) > EQUAL * (draws / counts).max():
        lines["1/m (m: draws)"] = 1 / np.maximum(draws, np.finfo(float).tiny)
    for (text, shape), style in zip(lines.items(), ("--", ":"), strict=False):
        weights = shape * draws.sum() / (shape * draws).sum()
        axes.plot(counts[order], weights[order], style, color=GREY, lw=1.4, label=text, zorder=0.5)
    axes.set(title=f"Weights in force in epoch {inspection.epoch}", ylabel="weight alpha")
    axes.legend(loc="lower left")


def _radii_and_size(axes: Axes, inspection: Inspection) -> None:
    """Plots the radii, those expected for equal volumes (fewer samples give smaller radii), and a running median."""
    _scatter(axes, inspection, inspection.radii)
    indices = np.flatnonzero(inspection.own)
    order = np.argsort(inspection.counts[indices], kind="stable")
    if inspection.equal_volumes is not None:
        radii = np.exp(inspection.equal_volumes[order])
        label = "radii if all volumes were equal"
        axes.plot(inspection.counts[indices][order], radii, "--", color=GREY, lw=1.4, label=label)
    slices = min(20, len(indices) // 25)
    if slices >= 4:
        parts = np.array_split(indices[order], slices)
        medians = [(np.median(inspection.counts[part]), np.median(inspection.radii[part])) for part in parts]
        axes.plot(*np.array(medians).T, color=COLOURS["overall"], label="median radius")
    axes.set(title=f"Radii as measured, epoch {inspection.epoch}", ylabel="radius r")


def _epochs(inspection: Inspection) -> Figure:
    """Plots the weights over the epochs and, if measured, the radii and their relation to class size."""
    measured, series = inspection.measured, inspection.series
    figure = new_figure(8, 8.0 if measured else 4.0)
    heights = [3, 3, 2] if measured else [3]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    marker = "o" if len(series.epochs) < 3 else ""  # a line with one point is invisible
    for axes, values in zip(panels, (series.weights, series.radii), strict=False):
        for group in (name for name in GROUPS if name in inspection.group):
            low, median, high = np.array(values[group]).T
            band(axes, series.epochs, low, high, COLOURS[group])
            axes.plot(series.epochs, median, color=COLOURS[group], marker=marker)
        axes.set_yscale("log")
        _plain_ticks(axes)
    title = "Weights in force: median of the group's classes, 10 % to 90 % shaded"
    panels[0].set(title=title, ylabel="weight alpha")
    if measured:
        panels[1].set(title="Radii as measured (substituted classes left out)", ylabel="radius r")
        level = inspection.size.level
        if np.isfinite(level):
            chance = "95 % range if all volumes were equal"
            panels[2].axhspan(-level, level, color="#dddddd", lw=0, zorder=0, label=chance)
        panels[2].plot(series.epochs, series.corrected, color=COLOURS["overall"], marker=marker)
        panels[2].axhline(0, color=GREY, lw=1)
        title = "Rank correlation of class size and corrected radius (below 0: rare classes are larger)"
        panels[2].set(title=title, ylabel="Spearman's rho", ylim=(-1.05, 1.05))
    panels[-1].set_xlabel("epoch")
    whole_epochs(panels[-1])
    marks = group_marks(panels[0], inspection.group, inspection.groups, marker="-")
    handles = [*marks, *panels[-1].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=3 if len(handles) < 4 else 2)
    return figure


def _extremes(inspection: Inspection, names: list[str] | None) -> Figure:
    largest, smallest = inspection.extremes(EXTREMES)
    indices = [*largest, *reversed(smallest)]
    figure = new_figure(8, 1.6 + 0.28 * len(indices))
    axes = figure.subplots()
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    for place, index in enumerate(indices):
        axes.plot(inspection.radii[index], -place, "o", color=COLOURS[str(inspection.group[index])], ms=8)
        text = f"n = {inspection.counts[index]}, alpha = {inspection.weights[index]:.3g}"
        axes.annotate(text, (1.0, -place), (6, 0), va="center", fontsize=9, **beside)
    axes.axhline(0.5 - len(largest), color=GREY, lw=1)
    shown = [label(names, index) for index in indices]
    shown = [text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…" for text in shown]
    axes.set_yticks([-place for place in range(len(indices))], shown)
    title = f"Largest and smallest radii as measured, epoch {inspection.epoch}"
    axes.set(xscale="log", xlabel="radius r", title=title)
    _plain_ticks(axes, "x")
    light_grid(axes, "x")
    marks = group_marks(axes, inspection.group[indices], inspection.groups)
    figure.legend(handles=marks, loc="outside lower center", ncols=3)
    return figure


def _plain_ticks(axes: Axes, which: str = "xy") -> None:
    """Labels log axes with numbers like 0.5 and 20 instead of powers of ten, also below a decade."""
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
