"""The tables of the frozen tower as they stand in the documents, from the committed results.

`published.py` writes them into the documents; `tests/frozen_tower/test_published_tables.py` compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from frozen_tower_curve import Point
from frozen_tower_results import Cell, Estimate, estimate, read

RESULTS = Path(__file__).parent / "results"
CELLS = {
    "cifar100-200-linear": "CIFAR-100-LT, IF 200, linear",
    "cifar100-100-linear": "IF 100, linear",
    "cifar100-50-linear": "IF 50, linear",
    "cifar100-100-linear-sqrt": "IF 100, linear, sqrt sampler",
    "cifar100-100-cosine": "IF 100, cosine",
    "cifar100-100-image-text": "IF 100, image-text",
    "cifar100-100-language-sqrt": "IF 100, VL-LTR's, sqrt sampler",
    "cifar100-100-language-trained-sqrt": "the same, its embedding trained on",
    "cifar10-100-linear": "CIFAR-10-LT, IF 100, linear",
}
GROUPS = ("all", "many", "medium", "few")


def cells(*names: str) -> dict[str, Cell]:
    """The cells of results files, by name."""
    return {cell.name: cell for cell in read([RESULTS / f"frozen_tower_{name}.jsonl" for name in names])}


def table(header: str, rows: Iterable[Iterable[object]], *, numbers: bool = False) -> str:
    """Markdown; columns of numbers to the right where asked."""
    columns = header.count("|") - 1
    rule = "| --- |" + (" ---: |" if numbers else " --- |") * (columns - 1)
    return "\n".join([header, rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


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
    for line in _lines("frozen_tower_columns")[1:]:
        source = f"{line['columns']} of 1000 columns" if "columns" in line else f"{line['images']} images"
        rows.append([source, f"{line['rms']:.4f}", f"{line['bias']:+.3f}" if "bias" in line else "0"])
    return table("| log r from | error (rms) | mean error |", rows)


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text("utf-8").splitlines()]


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


def draws(found: dict[str, Cell]) -> str:
    """Cells whose classes and images are random: the volume and the shuffled radii against 1/n."""
    rows = []
    for name, words in {
        "cifar100-60to3-linear": "CIFAR-100, 60 to 3 images",
        "cifar10-600to6-linear": "CIFAR-10, 600 to 6 images",
    }.items():
        cell = found[name]
        pairs = [("inverse", "ce"), ("inverse adjusted", "ce"), ("dv", "inverse"), ("dv adjusted", "inverse adjusted")]
        pairs += [("dv-shuffled", "inverse"), ("dv-shuffled adjusted", "inverse adjusted")]
        rows.append([words, len(cell.lines), *(cell.difference(*pair) for pair in pairs)])
    header = "| cell | draws | 1/n, weights, minus ce | margins, minus ce | dv minus 1/n, weights | margins |"
    return table(f"{header} shuffled radii minus 1/n, weights | margins |", rows)


def breadth(found: dict[str, Cell]) -> str:
    """Broad and narrow classes: what each radius sees, and what weights by it do."""
    names = {
        "cifar100-broad60to60-linear": "60 images each",
        "cifar100-broad60to3-linear": "60 to 3 images",
    }
    rows = []
    for name, words in names.items():
        cell = found[name]
        for method in ("dv", "bv", "r^4", "features", "features^4", "dv adjusted", "features adjusted"):
            twin = "inverse adjusted" if method.endswith("adjusted") else "inverse"
            seen = estimate([-value for value in cell.described(method, "few_minus_many_log_r")])
            moved = [cell.difference(method, twin, lambda point, i=i: point[i]) for i in (0, 1, 3)]
            rows.append([words, len(cell.lines), method, seen, *moved])
            words = ""
    header = "| cell | draws | method | log r, broad minus narrow | accuracy of all, minus 1/n |"
    return table(f"{header} broad | narrow |", rows)


def oracle() -> str:
    """Biases fitted on half of the test images against the best tau, and what test radii tell."""
    rows, lines = [], _lines("frozen_tower_oracle")
    for name in ("cifar100-100-linear", "cifar10-100-linear"):
        own = [line for line in lines if line["cell"] == name]
        gains = [line["accuracy"]["biases"] - line["accuracy"]["tau"] for line in own]
        radii = np.array([line["log_radius"] for line in own])
        between, within = radii.mean(axis=0).std(ddof=1), np.sqrt(radii.var(axis=0, ddof=1).mean())
        told = [[line["corr_biases_r"][key] for line in own] for key in ("dv", "dv-test")]
        told.append([line["corr_accuracy_r"] for line in own])
        numbers = [estimate(gains), *map(estimate, told), f"{between:.3f}", f"{within:.3f}"]
        rows.append([CELLS[name], len(own), *numbers])
    header = "| cell | seeds | fitted biases minus the best tau | biases and training radii | biases and test radii |"
    header += " accuracy and test radii | std of test log r between classes | over seeds |"
    return table(header, rows)


def settings() -> str:
    """The settings' search on validation images."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for line in _lines("frozen_tower_settings"):
        found.setdefault((line["cell"], line["rate"], line["epochs"], line["decay"]), []).append(line["ce"])
    rows = [
        [cell, *(f"{each:g}" for each in key), len(values), f"{np.mean(values):.1f}"]
        for (cell, *key), values in found.items()
    ]
    return table("| cell | rate | epochs | decay | seeds | ce, validation |", rows)


def tuned(line: dict[str, Any], family: list[str]) -> float:
    """Test accuracy of the member of a family that is best on the validation images."""
    best = max(family, key=lambda name: line["validation"]["methods"][name][0])
    return float(line["test"]["methods"][best][0])


def tuned_curve(line: dict[str, Any], name: str) -> float:
    """Test accuracy of a method after training at the tau that is best on the validation images."""
    return float(line["test"]["curves"][name][int(np.argmax(line["validation"]["curves"][name]))])


def grid() -> str:
    """Effects by rate, epochs and decay, and the families tuned alike."""
    rows, lines = [], _lines("frozen_tower_grid")
    for setting in dict.fromkeys(tuple(line["setting"]) for line in lines):
        own = [line for line in lines if tuple(line["setting"]) == setting]
        test = [{name: point[0] for name, point in line["test"]["methods"].items()} for line in own]
        pairs = [("inverse", "ce"), ("inverse adjusted tau 1", "ce"), ("dv", "inverse")]
        pairs.append(("dv adjusted tau 1", "inverse adjusted tau 1"))
        effects = [estimate([line[a] - line[b] for line in test]) for a, b in pairs]
        margins = {name: [m for m in test[0] if m.startswith(f"{name} adjusted")] for name in ("inverse", "dv")}
        best = [[tuned_curve(line, "ce") for line in own]]
        best += [[tuned(line, margins[name]) for line in own] for name in ("inverse", "dv")]
        best += [[tuned_curve(line, name) for line in own] for name in ("inverse", "inverse adjusted tau 1")]
        rate, epochs, decay = setting
        rows.append([f"{rate:g}, {epochs}, {decay:g}", len(own), *effects, *(f"{np.mean(each):.1f}" for each in best)])
    header = "| rate, epochs, decay | seeds | 1/n, weights, minus ce | margins | dv minus 1/n, weights | margins |"
    return table(
        f"{header} tuned: after training | margins 1/n | margins dv | weights 1/n | margins 1/n, own curve |", rows
    )


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
