"""One style for all pictures, optional imports, and saving."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.errors import UserError
from vlltr_plugin.runs.files import write_whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from vlltr_plugin.core.shot_groups import Convention

DPI = 150

COLOURS = {"many": "#0072B2", "medium": "#E69F00", "few": "#CC79A7", "overall": "#000000"}
"""Okabe and Ito's palette, safe for colour-blind readers; a group of classes has the same colour in every picture."""

RUN_COLOURS = ("#444444", "#D55E00", "#009E73", "#56B4E9", "#8B5A2B", "#7B3294")
"""Colours of runs, in their order; they differ from the colours of the groups of classes."""

GREY = "#555555"  # for references and borders
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
LEGEND_ROW = 0.22  # inches

STYLE: Mapping[str, Any] = {
    "font.size": 11.0,
    "axes.titlesize": 12.0,
    "axes.labelsize": 11.0,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "legend.fontsize": 10.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # names of runs and classes may contain a $
}
"""Readable when an 8 inch wide figure is shown 800 pixels wide, as README does."""


class MissingExtraError(UserError, ModuleNotFoundError):
    """Libraries of an extra are not installed."""


def require(*modules: str, extra: str = "report") -> list[Any]:
    """Imports libraries of an extra; a MissingExtraError names all that are missing and how to install them."""
    found, missing = [], []
    for module in modules:
        try:
            found.append(importlib.import_module(module))
        except ModuleNotFoundError:
            missing.append("scikit-learn" if module == "sklearn" else module)
    if missing:
        verb = "it is" if len(missing) == 1 else "they are"
        raise MissingExtraError(
            f"Expected {' and '.join(missing)}, but {verb} not installed: pip install 'vlltr-plugin[{extra}]' "
            f"(or pip install {' '.join(missing)})"
        )
    return found


def require_matplotlib() -> Any:
    """Imports matplotlib, or raises `MissingExtraError`. See `require`."""
    return require("matplotlib")[0]


def styled() -> Any:
    """Context manager with our style, for code that creates figures, axes, lines or text; changes nothing global."""
    return require_matplotlib().rc_context(dict(STYLE))


def new_figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """An empty figure of `width` x `height` inches without a window; draw on it inside `styled`."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def light_grid(axes: Axes, along: str = "y") -> None:
    """Draws only the grid lines of one axis: `"x"`, `"y"` or `"both"`."""
    axes.grid(False)
    axes.grid(True, axis=along)  # type: ignore[arg-type]


def run_style(number: int) -> dict[str, Any]:
    """Colour, line and marker of a run by its place in the order, as keywords of `Axes.plot`."""
    return {
        "color": RUN_COLOURS[number % len(RUN_COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def band(axes: Axes, x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> None:
    """Shades an interval around a line."""
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def legend_above(figure: Figure, handles: Sequence[Artist], title: str | None = None) -> None:
    """Adds one legend above all panels: one row for up to three entries, else two, or more where names are long.

    More than two rows make the figure higher.
    """
    columns = len(handles) if len(handles) <= 3 else (len(handles) + 1) // 2
    while True:
        legend = figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, title=title)
        if columns <= 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
        columns -= 1
    more = -(-len(handles) // max(columns, 1)) - 2
    if more > 0:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + LEGEND_ROW * more)


def group_marks(axes: Axes, present: Iterable[str], groups: Convention, marker: str = "o") -> list[Line2D]:
    """Legend entries of those groups of classes that are among `present`, with their thresholds."""
    found = set(map(str, present))
    titles = {name: f"{name}-shot ({groups.bounds(name)} images)" for name in GROUPS if name in found}
    return [axes.plot([], [], marker, color=COLOURS[name], ms=7, label=title)[0] for name, title in titles.items()]


def whole_epochs(axes: Axes) -> None:
    """Puts ticks at whole epochs only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, whole or not at all, and returns the path."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
    return path
