"""What all pictures share: matplotlib if it is there, one style, and saving.

```python
figure = new_figure(8, 4)
axes = figure.subplots()
axes.plot(epochs, accuracy, color=COLOURS["few"])
save(figure, folder / "accuracy.png")
```
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.errors import UserError
from vlltr_plugin.runs.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
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
    "text.parse_math": False,  # names of runs and classes may hold a $
}
"""Readable when an 8 inch wide figure is shown 800 pixels wide, as README does."""


PACKAGES = {"sklearn": "scikit-learn"}
"""What pip calls a module, where that is another name."""


class MissingExtraError(UserError, ModuleNotFoundError):
    """Libraries of an extra are not installed."""


def require(*modules: str, extra: str = "report") -> list[Any]:
    """Imports libraries of an extra.

    Raises:
        MissingExtraError: some are not installed; the text names all of them and says how to get them.
    """
    found, missing = [], []
    for module in modules:
        try:
            found.append(importlib.import_module(module))
        except ModuleNotFoundError:
            missing.append(PACKAGES.get(module, module))
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
    """A context with our style: whatever makes figures, axes, lines or text belongs inside; nothing global changes."""
    return require_matplotlib().rc_context(dict(STYLE))


def new_figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """An empty figure, `width` x `height` inches, that no window or backend knows; see `styled` for what goes in."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def light_grid(axes: Axes, along: str = "y") -> None:
    """Leaves only the grid lines at the ticks of one axis: `"x"`, `"y"` or `"both"`."""
    axes.grid(False)
    axes.grid(True, axis=along)  # type: ignore[arg-type]


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, whole or not at all, and returns the path."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
    return path
