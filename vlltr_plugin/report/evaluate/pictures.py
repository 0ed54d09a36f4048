"""The pictures of an evaluation: reliability, the confusion of the worst classes, and the trade-off curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.report.labels import with_bounds
from vlltr_plugin.report.pictures import (
    COLOURS,
    GREY,
    RUN_COLOURS,
    group_marks,
    legend_above,
    light_grid,
    new_figure,
    run_style,
)
from vlltr_plugin.report.tradeoff.curve import TradeOff, steps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"mixture": "Mixture of softmaxes", "sum": "Sum of logits", "single": "Predictions"}
BAR, GAP, IMAGES = RUN_COLOURS[3], RUN_COLOURS[1], "#999999"
UNTRAINED = "#999999"  # names of classes without training images
LONGEST_NAME = 18

Steps = Sequence[tuple[float, float, float]]  # tau, many-shot and few-shot accuracy


def draw_evaluation(evaluation: dict[str, Any], curve: TradeOff, run: str) -> dict[str, Figure]:
    """Figures by file name; with the trade-off curve if both its groups have images. Call inside `styled`."""
    steps = steps_of(curve.rows)
    curves = {"tradeoff.png": draw_curves([(run, steps)], evaluation["split"], curve.groups)} if steps else {}
    return curves | {
        "reliability.png": _reliability(evaluation, run),
        "confusion.png": _confusion(evaluation, curve, run),
    }


def _reliability(evaluation: dict[str, Any], run: str) -> Figure:
    """Accuracy and number of images in each bin of confidence."""
    rules = [rule for rule in PANELS if rule in evaluation["rules"]]
    figure = new_figure(8 if len(rules) > 1 else 5, 5.6)
    panels = figure.subplots(2, len(rules), sharex=True, sharey="row", height_ratios=[5, 2], squeeze=False)
    for (above, below), rule in zip(panels.T, rules, strict=True):
        values = evaluation["rules"][rule]
        start, end, images, confidence, accuracy = (
            np.array([entry[key] for entry in values["reliability"]])
            for key in ("from", "to", "images", "confidence", "accuracy")
        )
        above.bar(start, accuracy, end - start, align="edge", color=BAR, edgecolor="white", label="accuracy")
        above.plot([0, 1], [0, 1], "--", color=GREY, lw=1.2, label="perfectly calibrated")
        gap = np.minimum(accuracy, confidence), np.maximum(accuracy, confidence)
        above.vlines(confidence, *gap, GAP, lw=2, label="gap")
        above.set(title=f"{PANELS[rule]}: ECE {values['ece']:.1f} %", xlim=(0, 1), ylim=(0, 1))
        below.bar(start, images / evaluation["images"], end - start, align="edge", color=IMAGES, ec="white")
        below.set(xlabel="confidence", xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0", "0.25", "0.5", "0.75", "1"])
        light_grid(below, "y")
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("share of\nimages")
    figure.suptitle(f"{run}, {evaluation['split']} split", fontsize=12)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _confusion(evaluation: dict[str, Any], curve: TradeOff, run: str) -> Figure:
    """Rows: the worst classes; columns: the predicted classes, in percent of the row."""
    confusion = evaluation["confusion"]
    classes: list[int] = confusion["classes"]
    counts = np.array(confusion["counts"], dtype=float)
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    number = len(classes)
    everything = number == len(curve.counts)
    share = share[:, :-1] if everything else share
    figure = new_figure(8, 2.2 + 0.29 * number)
    axes = figure.subplots()
    axes.imshow(share, cmap="Greys", vmin=0, vmax=100, aspect="auto")
    for row, column in np.argwhere(share >= 0.5).tolist():
        value = share[row, column]
        colour = "white" if value > 50 else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7 if number > 10 else 9, color=colour)
    names = confusion["names"] or [None] * number
    axes.set_yticks(range(number), list(map(_class_title, names, classes)), fontsize=9)
    columns = [str(index) for index in classes] + ([] if everything else ["other"])
    axes.set_xticks(range(len(columns)), columns, rotation=90 if number > 10 else 0)
    axes.set_xlabel("predicted class")
    groups = curve.groups.group(curve.counts)[classes]
    for tick, group in zip([*axes.get_yticklabels(), *axes.get_xticklabels()], [*groups, *groups], strict=False):
        tick.set_color(COLOURS.get(str(group), UNTRAINED))
    axes.grid(False)
    axes.tick_params(length=0)
    # Beside each row: the most frequent wrong prediction, which is usually not one of the worst classes.
    beside: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
    for row, taken in enumerate(confusion["most_taken_for"]):
        if taken is not None:
            text = f"{_class_title(taken['name'], taken['class'])}: {100 * taken['images'] / counts[row].sum():.0f} %"
            axes.annotate(text, (1.0, row), (6, 0), xycoords=("axes fraction", "data"), va="center", **beside)
    axes.annotate("most often taken for", (1.0, 1.0), (6, 4), xycoords="axes fraction", style="italic", **beside)

    rule = confusion["rule"]
    at_0 = evaluation["rules"][rule]["classes_at_0"]
    what = f"The first {number} of the {at_0} classes at 0 %" if at_0 > number else f"The {number} worst classes"
    if number == len(np.unique(curve.labels)):
        what = "All classes" if everything else f"All {number} classes with images"
    of_rule = "" if rule == "single" else f" ({rule})"
    figure.suptitle(f"{run}\n{what}: predictions in percent of their images{of_rule}", fontsize=12)
    marks = group_marks(axes, groups, curve.groups, marker="s")
    if "" in groups:
        marks += axes.plot([], [], "s", color=UNTRAINED, ms=7, label="no training images")
    figure.legend(handles=marks, loc="outside lower center", ncols=3, title="colour of a class's name")
    return figure


def _class_title(name: str | None, index: int) -> str:
    if name is None:
        return f"class {index}"
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return f"{short} ({index})"


def draw_curves(curves: Sequence[tuple[str, Steps]], split: str, groups: Convention | None = None) -> Figure:
    """Draws the curve of each run in the order of tau; a filled mark is tau 0, the run as trained.

    `groups` are the thresholds of many and few, None if unknown.
    """
    figure = new_figure(8.0, 5.6)
    axes = figure.subplots()
    for number, (name, steps) in enumerate(curves):
        style = run_style(number)
        axes.plot(*zip(*(step[1:] for step in steps), strict=True), **style, markerfacecolor="white", label=name)
        for _, many, few in (step for step in steps if step[0] == 0):
            axes.plot([many], [few], **style, markersize=10)
    many_shot, few_shot = (with_bounds(f"{name}-shot", name, groups) for name in ("many", "few"))
    axes.set_xlabel(f"{many_shot} top-1, {split} split (%)")
    axes.set_ylabel(f"{few_shot} top-1 (%)")
    axes.set_title("Trade-off curves: logits - tau * log(prior)")
    axes.margins(0.08)
    light_grid(axes, "both")
    legend_above(figure, axes.get_legend_handles_labels()[0], "filled: tau 0, as trained; numbers: tau")
    _write_taus(figure, axes, [steps for _, steps in curves])
    return figure


def _write_taus(figure: Figure, axes: Axes, curves: Sequence[Steps]) -> None:
    """Writes tau beside the points, inside the axes, the curves' ends first; skips points without room for it."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # draws once, so that the positions of the points are known
    ends: list[tuple[int, tuple[float, float], str]] = []
    between: list[tuple[int, tuple[float, float], str]] = []
    for number, steps in enumerate(curves):
        places: dict[tuple[float, float], list[str]] = {}
        for tau, many, few in steps:
            places.setdefault((many, few), []).append(f"{tau:g}")  # with few test images several taus share a position
        found = [(number, place, ", ".join(taus)) for place, taus in places.items()]
        ends += found[:: max(1, len(found) - 1)]
        between += found[1:-1]
    marks = axes.transData.transform([step[1:] for steps in curves for step in steps])
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in marks]
    for number, place, text in ends + between:
        side = 1 if number % 2 else -1  # the first run's labels go on the inner side of its curve
        for across, up in ((side, side), (-side, -side), (-side, side), (side, -side)):
            label = axes.annotate(
                text,
                place,
                xytext=(7 * across, 5 * up),
                textcoords="offset points",
                ha="left" if across > 0 else "right",
                va="bottom" if up > 0 else "top",
                fontsize=9,
                color=RUN_COLOURS[number % len(RUN_COLOURS)],
            )
            extent = label.get_window_extent()
            inside = axes.bbox.count_contains(extent.corners()) == 4
            if inside:
                break
            label.remove()
        if inside and any(extent.overlaps(other) for other in taken):
            label.remove()
        elif inside:
            taken.append(extent)
