"""Tables of the controls: random classes, unequal breadth, the oracle, the grid of settings."""

from __future__ import annotations

from typing import Any

import numpy as np
from frozen_tower_markdown import CELLS, lines_of, table
from frozen_tower_results import Cell, estimate


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
    rows, lines = [], lines_of("frozen_tower_oracle")
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
    for line in lines_of("frozen_tower_settings"):
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
    rows, lines = [], lines_of("frozen_tower_grid")
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
