"""The pictures of an evaluation: reliability, the confusion of the worst classes, and the trade-off curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.report.labels import with_bounds
from vlltr_plugin.report.pictures import COLOURS, GREY, RUN_COLOURS, group_marks, light_grid, new_figure, run_style
from vlltr_plugin.report.tradeoff.curve import TradeOff, steps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"mixture": "Mixture of softmaxes", "sum": "Sum of logits", "single": "Predictions"}
BAR, GAP, IMAGES = RUN_COLOURS[3], RUN_COLOURS[1], "#999999"
LONGEST_NAME = 18

Steps = Sequence[tuple[float, float, float]]
"""tau, many-shot and few-shot accuracy."""


def draw_evaluation(
    evaluation: dict[str, Any], train_counts: NDArray[np.int64], curve: TradeOff, run: str
) -> dict[str, Figure]:
    """The figures by file name, the trade-off curve where both its groups have images; within `styled`."""
    steps = steps_of(curve.rows)
    curves = {"tradeoff.png": draw_curves([(run, steps)], evaluation["split"], curve.groups)} if steps else {}
    return curves | {
        "reliability.png": _reliability(evaluation, run),
        "confusion.png": _confusion(evaluation, train_counts, curve.groups, run),
    }


def _reliability(evaluation: dict[str, Any], run: str) -> Figure:
    """Accuracy in each bin of confidence, and how many images fall into it."""
    rules = [rule for rule in PANELS if rule in evaluation["rules"]]
    figure = new_figure(8 if len(rules) > 1 else 5, 5.6)
    panels = figure.subplots(2, len(rules), sharex=True, sharey="row", height_ratios=[5, 2], squeeze=False)
    for (above, below), rule in zip(panels.T, rules, strict=True):
        values = evaluation["rules"][rule]
        _draw_bins(above, below, values["reliability"], evaluation["images"])
        above.set(title=f"{PANELS[rule]}: ECE {values['ece']:.1f} %", xlim=(0, 1), ylim=(0, 1))
        below.set(xlabel="confidence", xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0", "0.25", "0.5", "0.75", "1"])
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("share of\nimages")
    figure.suptitle(f"{run}, {evaluation['split']} split", fontsize=12)
    handles, texts = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=3)
    return figure


def _draw_bins(above: Axes, below: Axes, bins: list[dict[str, float]], images: int) -> None:
    start = [entry["from"] for entry in bins]
    width = [entry["to"] - entry["from"] for entry in bins]
    accuracy = np.array([entry["accuracy"] for entry in bins])
    confidence = np.array([entry["confidence"] for entry in bins])
    above.bar(start, accuracy, width, align="edge", color=BAR, edgecolor="white", label="accuracy")
    above.plot([0, 1], [0, 1], "--", color=GREY, lw=1.2, label="perfectly calibrated")
    above.vlines(confidence, np.minimum(accuracy, confidence), np.maximum(accuracy, confidence), GAP, lw=2, label="gap")
    below.bar(start, [entry["images"] / images for entry in bins], width, align="edge", color=IMAGES, ec="white")
    light_grid(below, "y")


def _confusion(evaluation: dict[str, Any], train_counts: NDArray[np.int64], convention: Convention, run: str) -> Figure:
    """Rows: the worst classes; columns: what they are taken for, in percent of the row."""
    confusion = evaluation["confusion"]
    classes: list[int] = confusion["classes"]
    counts = np.array(confusion["counts"], dtype=float)
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    number = len(classes)
    everything = number == len(train_counts)
    share = share[:, :-1] if everything else share
    figure = new_figure(8, 2.2 + 0.29 * number)
    axes = figure.subplots()
    axes.imshow(share, cmap="Greys", vmin=0, vmax=100, aspect="auto")
    for row, column in np.argwhere(share >= 0.5).tolist():
        value = share[row, column]
        colour = "white" if value > 50 else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7 if number > 10 else 9, color=colour)
    names = confusion["names"] or [None] * number
    axes.set_yticks(
        range(number), [_title(name, index) for name, index in zip(names, classes, strict=True)], fontsize=9
    )
    columns = [str(index) for index in classes] + ([] if everything else ["other"])
    axes.set_xticks(range(len(columns)), columns, rotation=90 if number > 10 else 0)
    axes.set_xlabel("predicted class")
    figure.suptitle(f"{run}\n{_confusion_title(evaluation, number)}", fontsize=12)
    groups = convention.group(train_counts)[classes]
    for tick, group in zip([*axes.get_yticklabels(), *axes.get_xticklabels()], [*groups, *groups], strict=False):
        tick.set_color(COLOURS[str(group)])
    axes.grid(False)
    axes.tick_params(length=0)
    _second_names(axes, evaluation)
    figure.legend(
        handles=group_marks(axes, groups, convention, marker="s"),
        loc="outside lower center",
        ncols=3,
        title="colour of a class's name",
    )
    return figure


def _confusion_title(evaluation: dict[str, Any], number: int) -> str:
    rule = evaluation["confusion"]["rule"]
    at_0 = evaluation["rules"][rule]["classes_at_0"]
    what = f"The {number} worst classes"
    if number == evaluation["classes"]:
        what = "All classes"
    elif at_0 > number:
        what = f"The first {number} of the {at_0} classes at 0 %"
    return f"{what}: predictions in percent of their images{'' if rule == 'single' else f' ({rule})'}"


def _second_names(axes: Axes, evaluation: dict[str, Any]) -> None:
    """Beside each row the class that it is most often taken for: usually none of the worst ones."""
    confusion = evaluation["confusion"]
    for row, taken in enumerate(confusion["most_taken_for"]):
        if taken is None:
            continue
        part = 100 * taken["images"] / sum(confusion["counts"][row])
        axes.annotate(
            f"{_title(taken['name'], taken['class'])}: {part:.0f} %",
            (1.0, row),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.annotate(
        "most often taken for",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=9,
        style="italic",
    )


def _title(name: str | None, index: int) -> str:
    if name is None:
        return f"class {index}"
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return f"{short} ({index})"


def draw_curves(curves: Sequence[tuple[str, Steps]], split: str, groups: Convention | None = None) -> Figure:
    """Draws the curve of each run in the order of tau; a filled mark is tau 0, the run as it was trained.

    `groups` are the thresholds of many and few, None where they are not known.
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
    figure.legend(
        loc="outside upper center", ncols=min(3, len(curves)), title="filled: tau 0, as trained; numbers: tau"
    )
    _write_taus(figure, axes, [steps for _, steps in curves])
    return figure


def _write_taus(figure: Figure, axes: Axes, curves: Sequence[Steps]) -> None:
    """Writes tau beside the points, those at the ends of the curves first; where there is no room, none."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # the places of the points are known then
    ends = [(number, steps, end) for number, steps in enumerate(curves) for end in (True, False)]
    places = axes.transData.transform([step[1:] for steps in curves for step in steps])
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in places]  # the marks
    for number, steps, end in sorted(ends, key=lambda entry: not entry[2]):
        found = list(_labels(steps).items())
        for (x, y), text in found[:: max(1, len(found) - 1)] if end else found[1:-1]:
            side = 1 if number % 2 else -1  # the first run's numbers on the inner side of its curve
            label = axes.annotate(
                text,
                (x, y),
                xytext=(7 * side, 5 * side),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="bottom" if side > 0 else "top",
                fontsize=9,
                color=RUN_COLOURS[number % len(RUN_COLOURS)],
            )
            place = label.get_window_extent()
            if any(place.overlaps(other) for other in taken):
                label.remove()
            else:
                taken.append(place)


def _labels(steps: Steps) -> dict[tuple[float, float], str]:
    """The taus of each place; on few test images several share one."""
    places: dict[tuple[float, float], list[str]] = {}
    for tau, many, few in steps:
        places.setdefault((many, few), []).append(f"{tau:g}")
    return {place: ", ".join(taus) for place, taus in places.items()}
