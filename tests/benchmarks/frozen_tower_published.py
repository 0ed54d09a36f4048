"""The tables of the frozen tower as they stand in the documents, from the committed results.

`published.py` writes them into the documents; `tests/frozen_tower/test_published_tables.py` compares.
"""

from __future__ import annotations

import numpy as np
from frozen_tower_controls import breadth, draws, grid, oracle, settings
from frozen_tower_curve import Point
from frozen_tower_markdown import CELLS, RESULTS, lines_of, table
from frozen_tower_results import Cell, Estimate, estimate, read


def cells(*names: str) -> dict[str, Cell]:
    """The cells of results files, by name."""
    return {cell.name: cell for cell in read([RESULTS / f"frozen_tower_{name}.jsonl" for name in names])}


def accuracies(point: Point) -> list[str]:
    """All, many, medium, few in percent."""
    return [f"{value:.1f}" for value in point]


def height(cell: Cell, method: str) -> Estimate:
    """Mean class accuracy minus ce's curve at equal many-shot accuracy."""
    return estimate([gap.all for gap in cell.gaps(method)])


def starts(cell: Cell, rows: dict[str, str]) -> str:
    """README's table: methods in words, accuracies, and the difference to cross entropy."""
    shown = []
    for method, words in rows.items():
        difference = "" if method == "ce" else cell.difference(method, "ce")
        shown.append([words, *accuracies(cell.mean_point(method)), difference])
    return table("| | all | many | medium | few | all, minus cross entropy |", shown, numbers=True)


def overview(found: dict[str, Cell]) -> str:
    """Each cell: accuracies of the plain methods, and their heights over the curve."""
    rows = []
    for name, words in CELLS.items():
        cell = found[name]
        best = np.mean([max(point.all for point in curve) for curve in cell.curves()])
        plain = [f"{cell.mean_point(method).all:.1f}" for method in ("ce", "inverse", "inverse adjusted")]
        heights = [height(cell, method) for method in ("inverse", "inverse adjusted")]
        rows.append([words, len(cell.having("inverse").lines), *plain, f"{best:.1f}", *heights])
    header = "| cell | seeds | cross entropy | 1/n, weights | 1/n, margins | best of the curve |"
    return table(f"{header} height of 1/n: weights | margins |", rows)


def information(found: dict[str, Cell]) -> str:
    """What the radii add to 1/n, in mean class accuracy."""
    rows = []
    for name, words in CELLS.items():
        cell, row = found[name], [words]
        for form in ("", " adjusted"):
            for radii in ("dv", "dv-shuffled", "dv-test"):
                there = radii + form in cell.methods
                row.append(str(cell.difference(radii + form, "inverse" + form)) if there else "")
        rows.append(row)
    header = "| cell | weights: true radii | shuffled | of test images |"
    return table(f"{header} margins: true radii | shuffled | of test images |", rows)


def control(found: dict[str, Cell]) -> str:
    """What each class's own radius adds to a power of n."""
    rows = []
    for name in ("cifar100-200-linear", "cifar100-100-linear", "cifar10-100-linear"):
        cell, words = found[name], CELLS[name].removeprefix("CIFAR-100-LT, ")
        for method in cell.methods:
            shape, _, form = method.partition(" ")
            fitted = f"{shape}-fitted {form}".strip()
            if fitted in cell.methods:
                few = cell.difference(method, fitted, lambda point: point.few)
                how = "margins" if form else "weights"
                numbers = cell.difference(method, fitted), few, cell.gap_difference(method, fitted)
                rows.append([words, f"{shape}, {how}", *numbers])
                words = ""
    return table("| cell | method | mean class accuracy | few | height over the curve |", rows)


READINGS = {
    "inverse": '`counts="sampler"` (default), 1/m',
    "dv": "the same, class volume",
    "inverse-dataset": '`counts="dataset"`, 1/n',
    "dv-dataset": "the same, class volume",
    "inverse-letter": "letter of Eq. 6 and 16, 1/n",
    "dv-letter": "the same, class volume",
    "inverse adjusted": '`counts="sampler"` (default), 1/m as margins',
    "dv adjusted": "the same, class volume",
    "inverse-dataset adjusted": '`counts="dataset"`, 1/n as margins',
    "dv-dataset adjusted": "the same, class volume",
}


def readings(cell: Cell) -> str:
    """The readings of Eq. 6 and 16 under the sqrt sampler, minus cross entropy."""
    rows = []
    for method, words in READINGS.items():
        if method in cell.methods:
            differences = [cell.difference(method, "ce", lambda point, group=group: point[group]) for group in range(4)]
            rows.append([words, *differences, height(cell, method)])
    return table("| | all | many | medium | few | height over the curve |", rows)


def columns() -> str:
    """Error of log r from some of the logits, or from few images."""
    rows = []
    for line in lines_of("frozen_tower_columns")[1:]:
        source = f"{line['columns']} of 1000 columns" if "columns" in line else f"{line['images']} images"
        rows.append([source, f"{line['rms']:.4f}", f"{line['bias']:+.3f}" if "bias" in line else "0"])
    return table("| log r from | error (rms) | mean error |", rows)


README_ROWS = {
    "ce": "cross entropy",
    "inverse from 0": "weights 1 / n from the first epoch (default)",
    "inverse": "weights 1 / n, second half",
    "dv from 1": "**class volume**, r / n, from the second epoch (default)",
    "dv": "class volume, second half",
    "inverse adjusted": "1 / n as margins (`LogitAdjustedLoss`; default)",
    "dv adjusted from 1": "r / n as margins (default)",
    "inverse post-hoc": "cross entropy, logits - log n *after* training",
}
START_ROWS = {
    "ce": "cross entropy",
    "inverse from 0": "1/n, weights from epoch 0",
    "inverse from 1": "1/n, weights from epoch 1",
    "inverse": "1/n, weights from half",
    "dv from 1": "class volume, weights from epoch 1",
    "dv": "class volume, weights from half",
    "inverse adjusted": "1/n, margins from the first step",
    "inverse adjusted late": "1/n, margins from half",
    "dv adjusted from 1": "class volume, margins from the first step, radii from epoch 1",
    "dv adjusted": "class volume, margins from the first step, radii from half",
    "dv adjusted late": "class volume, margins from half",
}


def paired(first: Cell, second: Cell) -> Cell:
    """The seeds of the first, with the methods of both."""
    others = {line["seed"]: line["methods"] for line in second.lines}
    lines = [{**line, "methods": {**others[line["seed"]], **line["methods"]}} for line in first.lines]
    return Cell(first.name, lines)


def published() -> dict[str, str]:
    """The tables of the documents, by the name in their marker."""
    main, others = cells("cifar100", "cifar10"), cells("random", "breadth")
    start = cells("starts")["cifar100-100-linear"]
    both = paired(start, main["cifar100-100-linear"])
    return {
        "README": starts(both, README_ROWS),
        "starts": starts(start, START_ROWS),
        "overview": overview(main),
        "radii": information(main),
        "control": control(cells("control")),
        "readings, VL-LTR's head": readings(main["cifar100-100-language-sqrt"]),
        "readings, linear head": readings(main["cifar100-100-linear-sqrt"]),
        "draws": draws(others),
        "breadth": breadth(others),
        "oracle": oracle(),
        "settings": settings(),
        "grid": grid(),
        "columns": columns(),
    }
