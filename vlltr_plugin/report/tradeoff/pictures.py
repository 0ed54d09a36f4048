"""Few- against many-shot accuracy, a curve for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.report.labels import with_bounds
from vlltr_plugin.report.pictures import light_grid, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUN_COLOURS = ("#444444", "#D55E00", "#009E73", "#56B4E9", "#8B5A2B", "#7B3294")
"""Of runs; none is a colour of a group of classes."""

LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")

Steps = Sequence[tuple[float, float, float]]
"""tau, many-shot and few-shot accuracy."""


def draw_curves(curves: Sequence[tuple[str, Steps]], split: str, groups: Convention | None = None) -> Figure:
    """Draws the curves in the order of tau; the filled mark is tau 0, the run as it was trained.

    Args:
        curves: for each run its name and its points.
        split: of the images.
        groups: thresholds of many and few; None where they are not known.
    """
    figure = new_figure(8.0, 5.6)
    axes = figure.subplots()
    for number, (name, steps) in enumerate(curves):
        colour, marker = RUN_COLOURS[number % len(RUN_COLOURS)], MARKERS[number % len(MARKERS)]
        many, few = [step[1] for step in steps], [step[2] for step in steps]
        axes.plot(
            many, few, LINES[number % len(LINES)], color=colour, marker=marker, markerfacecolor="white", label=name
        )
        for tau, x, y in steps:
            if tau == 0:
                axes.plot([x], [y], marker, color=colour, markersize=10)
    many_shot, few_shot = (with_bounds(f"{name}-shot", name, groups) for name in ("many", "few"))
    axes.set_xlabel(f"{many_shot} top-1, {split} split (%)")
    axes.set_ylabel(f"{few_shot} top-1 (%)")
    axes.set_title("Trade-off curves: tau * log(prior) taken off the logits")
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
