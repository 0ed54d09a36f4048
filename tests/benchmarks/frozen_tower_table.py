"""Tables of the frozen-tower benchmark, from its results.

python tests/benchmarks/frozen_tower_table.py tests/benchmarks/results/frozen_tower_*.jsonl [--cell NAME] [--short]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from frozen_tower_results import Cell, estimate, read

FORMS = ("", " adjusted", " post-hoc")
TESTS = {
    "dv": "the volume",
    "dv-shuffled": "placebo: radii shuffled among the classes",
    "dv-test": "radii of the test images",
    "r^-2": "r^-2 / n",
    "r^2": "r^2 / n",
    "r^4": "r^4 / n",
    "r^4-shuffled": "r^4 / n, shuffled",
}


def methods_table(cell: Cell) -> str:
    """Every method: where it lies, against ce and against ce's curve."""
    rows = [
        f"**{cell.name}**, {len(cell.lines)} seeds\n",
        "| method | all | many | medium | few | all - ce | above ce's curve: all | few | std log alpha | std log r |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in cell.methods:
        numbers = " | ".join(f"{value:.1f}" for value in cell.mean_point(name))
        gaps = cell.gaps(name)
        against = [estimate([each.all for each in gaps]), estimate([each.few for each in gaps])]
        shape = [estimate(cell.described(name, key)).mean for key in ("std_log_alpha", "std_log_r")]
        shown = [str(cell.difference(name, "ce")), *map(str, against), *(f"{number:.2f}" for number in shape)]
        if name == "ce":
            shown = [""] * 5
        rows.append(f"| {name} | {numbers} | {' | '.join(shown)} |")
    return "\n".join(rows)


def information_table(cells: list[Cell]) -> str:
    """What the radii add to 1/n: differences from the same form without them, each paired by seed."""
    rows = [
        "| cell | form | radii | all, minus 1/n | few, minus 1/n | height over ce's curve, minus 1/n's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        for form in FORMS:
            for test, words in TESTS.items():
                name, twin = test + form, "inverse" + form
                if name not in cell.methods or twin not in cell.methods:
                    continue
                numbers = (
                    cell.difference(name, twin),
                    cell.difference(name, twin, lambda point: point.few),
                    cell.gap_difference(name, twin),
                )
                rows.append(
                    f"| {cell.name} | {form.strip() or 'weights'} | {words} | {' | '.join(map(str, numbers))} |"
                )
    return "\n".join(rows)


def control_table(cells: list[Cell]) -> str:
    """What each class's own radius adds to a plain power of n that is as flat as the radii make alpha."""
    rows = [
        "| cell | method, minus its power of n | all | few | height over ce's curve |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        for name in cell.methods:
            shape, _, form = name.partition(" ")
            fitted = f"{shape}-fitted {form}".strip()
            if fitted in cell.methods:
                few = cell.difference(name, fitted, lambda point: point.few)
                numbers = cell.difference(name, fitted), few, cell.gap_difference(name, fitted)
                rows.append(f"| {cell.name} | {name} | {' | '.join(map(str, numbers))} |")
    return "\n".join(rows)


def radii_table(cells: list[Cell]) -> str:
    """Do rare classes have the larger volumes?"""
    rows = [
        "| cell | radii | std log r | std log alpha | correlation of log r and log n | mean log r, few minus many |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        for name in ("dv", "dv-debias", "dv-test", "bv", "pv10"):
            method = name if name in cell.methods else f"{name} post-hoc"
            if method in cell.methods:
                keys = ("std_log_r", "std_log_alpha", "corr_r_n", "few_minus_many_log_r")
                spread, alpha, correlation, shift = (estimate(cell.described(method, key)) for key in keys)
                rows.append(
                    f"| {cell.name} | {name} | {spread.mean:.2f} | {alpha.mean:.2f} | {correlation} | {shift} |"
                )
    return "\n".join(rows)


def readings_table(cells: list[Cell]) -> str:
    """The readings of Eq. 6 and 16 against ce, as the paper's Table 5 shows class volume against the host."""
    rows = [
        "| cell | method | all, minus ce | many | medium | few | above ce's curve: all |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        readings = [f"{shape}{reading}" for reading in ("", "-dataset", "-letter") for shape in ("inverse", "dv")]
        for name in [*readings, *(f"{each} adjusted" for each in readings)]:
            if name not in cell.methods or "dv-dataset" not in cell.methods:
                continue
            fields = ("all", "many", "medium", "few")
            numbers = [
                cell.difference(name, "ce", lambda point, field=field: getattr(point, field)) for field in fields
            ]  # type: ignore[misc]
            height = estimate([each.all for each in cell.gaps(name)])
            rows.append(f"| {cell.name} | {name} | {' | '.join(map(str, [*numbers, height]))} |")
    return "\n".join(rows)


def best_of_curve(cells: list[Cell]) -> str:
    """What the curve itself offers: its highest mean class accuracy, and where."""
    rows = ["| cell | ce | best of its curve | seconds a seed |", "| --- | --- | --- | --- |"]
    for cell in cells:
        heights = [max(point.all for point in curve) for curve in cell.curves()]
        seconds = math.fsum(line["seconds"] for line in cell.lines) / len(cell.lines)
        rows.append(f"| {cell.name} | {cell.mean_point('ce').all:.1f} | {estimate(heights).mean:.1f} | {seconds:.0f} |")
    return "\n".join(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--cell", nargs="+", help="only these")
    parser.add_argument("--short", action="store_true", help="leave out the table of every method")
    options = parser.parse_args()
    cells = [cell for cell in read(options.results) if not options.cell or cell.name in options.cell]
    tables = [] if options.short else [methods_table(cell) for cell in cells]
    tables += [best_of_curve(cells), information_table(cells), control_table(cells), radii_table(cells)]
    tables += [readings_table(cells)]
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
