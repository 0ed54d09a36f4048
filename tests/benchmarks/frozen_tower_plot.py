"""Few-shot against many-shot accuracy: ce's trade-off curve, and the methods as points.

python tests/benchmarks/frozen_tower_plot.py tests/benchmarks/results/frozen_tower_*.jsonl --out frozen_tower.png \
  --cell cifar100-100-linear cifar100-100-language-sqrt
"""

from pathlib import Path
from typing import Any

import numpy as np
from common import parser_of
from frozen_tower_curve import TAUS
from frozen_tower_results import Cell, read
from matplotlib import pyplot

SHAPES = {
    "inverse": ("1/n (no volume)", "tab:blue"),
    "dv": ("class volume (r/n)", "tab:red"),
    "dv-shuffled": ("radii shuffled: placebo", "tab:green"),
    "en": ("effective number", "tab:purple"),
    "dv-letter": ("class volume, letter of Eq. 6", "tab:orange"),
    "inverse-letter": ("1/n, letter of Eq. 6", "tab:cyan"),
}
FORMS = {"": ("loss weights", "o"), " adjusted": ("margins (LogitAdjustedLoss)", "^")}
WORDS = (
    "Up and right is better. The grey line is free: it shifts the logits of one trained baseline. "
    "Red: with the volume; blue: without; green: shuffled radii. Weights apply in the second half."
)
MARKED_TAUS = (0.0, 0.5, 1.0, 1.5)
TITLES = {
    "linear": "linear head",
    "cosine": "cosine head",
    "image-text": "image-text head",
    "language": "VL-LTR's head",
    "language-trained": "VL-LTR's head, embedding trained",
}


def draw(axes: Any, cell: Cell) -> None:
    """One cell: its curve as far as the methods lie, and the methods."""
    curve = np.mean([line["curve"] for line in cell.lines], axis=0)
    names = [(shape, form) for shape in SHAPES for form in FORMS if shape + form in cell.methods]
    points = {name: cell.mean_point("".join(name)) for name in names}
    lowest = min(point.many for point in points.values()) - 3
    shown = curve[curve[:, 1] >= lowest]
    axes.plot(shown[:, 1], shown[:, 3], color="0.55", zorder=1)
    for tau in MARKED_TAUS:
        _, many, _, few = curve[TAUS.index(tau)]
        if many >= lowest:
            axes.plot(many, few, "s", color="0.55", markersize=4, zorder=1)
            words, look = "baseline" if tau == 0 else f"tau {tau:g}", {"fontsize": 8, "color": "0.35", "ha": "right"}
            axes.annotate(words, (many, few), (-6, -9), textcoords="offset points", **look)
    for (shape, form), point in points.items():
        look = {"color": SHAPES[shape][1], "markersize": 8, "alpha": 0.8, "zorder": 2, "markeredgecolor": "white"}
        axes.plot(point.many, point.few, FORMS[form][1], **look)
    dataset, imbalance, head = cell.name.removesuffix("-sqrt").split("-", maxsplit=2)
    sampler = ", 1/sqrt(n) sampler" if cell.name.endswith("-sqrt") else ""
    name = dataset.upper().replace("CIFAR", "CIFAR-")
    axes.set_title(f"{name}-LT, IF {imbalance}, {TITLES[head]}{sampler}", fontsize=10)
    axes.set_xlabel("accuracy of the many-shot classes (%)")
    axes.set_ylabel("accuracy of the few-shot classes (%)")
    axes.grid(alpha=0.3)


def legend(axes: Any, cells: list[Cell]) -> None:
    """One for all panels, where none has points: colours are radii, markers are forms."""
    methods = {name for cell in cells for name in cell.methods}
    entries = [("baseline, logits - tau log n", "0.55", "s-")]
    entries += [(words, "0.2", marker) for words, marker in FORMS.values()]
    entries += [(words, color, "s") for shape, (words, color) in SHAPES.items() if shape in methods]
    for words, color, style in entries:
        axes.plot([], [], style, color=color, markersize=4 if "-" in style else 7, label=words)
    axes.legend(loc="lower left", fontsize=8)


def main() -> None:
    parser = parser_of(__doc__, required=True)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--cell", nargs="+", required=True)
    options = parser.parse_args()
    found = read(options.results)
    cells = [found[name] for name in options.cell]
    figure, axes = pyplot.subplots(1, len(cells), figsize=(5.6 * len(cells), 5.2), squeeze=False)
    for panel, cell in zip(axes[0], cells, strict=True):
        draw(panel, cell)
    legend(axes[0, 0], cells)
    figure.suptitle(WORDS, fontsize=10)
    figure.tight_layout()
    figure.savefig(options.out, dpi=130)


if __name__ == "__main__":
    main()
