"""The tables of the frozen tower from committed results, by the name in their marker (see `published.py`)."""

from typing import Any

import numpy as np
from common import RESULTS, Line, lines_of, table
from frozen_tower_columns import tabled as columns
from frozen_tower_curve import TAUS, Point
from frozen_tower_results import Cell, estimate, read

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
README_ROWS = {
    "ce": "cross entropy",
    "inverse from 0": "weights 1 / n from the first epoch (default)",
    "inverse from 1": "weights 1 / n from the second epoch",
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
READINGS = {
    "inverse": '`counts="sampler"` (default), 1/m',
    "dv": "the same, class volume",
    "inverse-dataset": '`counts="dataset"`, 1/n',
    "dv-dataset": "the same, class volume",
    "inverse-letter": "Eq. 6 and 16 taken literally, 1/n",
    "dv-letter": "the same, class volume",
    "inverse adjusted": '`counts="sampler"` (default), 1/m as margins',
    "dv adjusted": "the same, class volume",
    "inverse-dataset adjusted": '`counts="dataset"`, 1/n as margins',
    "dv-dataset adjusted": "the same, class volume",
}
DRAWS = {
    "cifar100-60to3-linear": "CIFAR-100, 60 to 3 images",
    "cifar10-600to6-linear": "CIFAR-10, 600 to 6 images",
}
BREADTHS = {
    "cifar100-broad60to60-linear": "five random classes, 60 images each",
    "cifar100-super60to60-linear": "five of a superclass, 60 images each",
    "cifar100-broad60to3-linear": "five random classes, 60 to 3 images",
}
ADDED = ("dv", "dv-shuffled", "dv-test", "r^4")


def cells(*names: str) -> dict[str, Cell]:
    return read([RESULTS / f"frozen_tower_{name}.jsonl" for name in names])


def starts(cell: Cell, rows: dict[str, str]) -> str:
    """Methods in words, accuracies, the difference to cross entropy, and the height over its curve."""
    shown = []
    for method, words in rows.items():
        differences = cell.difference(method, "ce"), estimate(cell.numbers(method, "height"))
        accuracies = (f"{value:.1f}" for value in cell.mean_point(method))
        shown.append([words, *accuracies, *(["", ""] if method == "ce" else differences)])
    return table("| | all | many | medium | few | all, minus cross entropy | minus its curve |", shown, numbers=True)


def overview(found: dict[str, Cell]) -> str:
    """Each cell: accuracies of the plain methods, and their heights over the curve."""
    rows = []
    for name, words in CELLS.items():
        cell, (tau, best) = found[name], found[name].best
        plain = [f"{cell.mean_point(method).all:.1f}" for method in ("ce", "inverse", "inverse adjusted")]
        heights = [estimate(cell.numbers(method, "height")) for method in ("inverse", "inverse adjusted")]
        adjusted = [line["curve"][TAUS.index(1.0)][0] for line in cell.having("inverse adjusted")]
        margins = cell.numbers("inverse adjusted", "all")
        gained = estimate([a - b for a, b in zip(adjusted, margins, strict=True)])
        after = [f"{np.mean(adjusted):.1f}", f"{best:.1f} at {tau:.1f}", gained]
        rows.append([words, len(cell.having("inverse")), *plain, *after, *heights])
    header = "| cell | seeds | cross entropy | 1/n, weights | 1/n, margins | after training: tau 1 | best, at tau |"
    return table(f"{header} tau 1 minus margins | height of 1/n: weights | margins |", rows)


def information(found: dict[str, Cell], parts: dict[str, tuple[str, str]]) -> str:
    """What the radii add to 1/n; `parts` has the title, form and number (see `Cell.numbers`) of each group."""
    rows = []
    for name, words in CELLS.items():
        pairs = [(radii + form, "inverse" + form, what) for form, what in parts.values() for radii in ADDED]
        rows.append([words, *(found[name].difference(*pair) for pair in pairs)])
    columns = " | ".join(f"{title}: true radii | shuffled | of test images | r^4" for title in parts)
    return table(f"| cell | {columns} |", rows)


def both_forms(what: str) -> dict[str, tuple[str, str]]:
    return {"weights": ("", what), "margins": (" adjusted", what)}


def twin_of(method: str) -> str | None:
    """The method that counts all radii as equal; None for one that has no radii."""
    shape, _, form = method.partition(" ")
    if shape in ("ce", "en") or shape.startswith("inverse"):
        return None
    reading = shape.removeprefix("dv") if shape in ("dv-dataset", "dv-letter") else ""
    return f"inverse{reading} {form}".strip()


def clear_gains(found: dict[str, Cell], what: str) -> str:
    """All methods with radii whose difference to 1/n is clearly above 0, of how many."""
    rows, compared = [], 0
    for name, words in CELLS.items():
        cell = found[name]
        for method in cell.methods:
            twin = twin_of(method)
            gain = cell.difference(method, twin, what) if twin in cell.methods else None
            compared += gain is not None
            if gain is not None and gain.mean > gain.half_width:
                spreads = (estimate(cell.described(each, "std_log_alpha")).mean for each in (method, twin))
                rows.append([words, method, gain, *(f"{spread:.2f}" for spread in spreads)])
    rows.append([f"{len(rows)} of {compared}", "", "", "", ""])
    return table("| cell | method | minus 1/n | std log alpha | of 1/n |", rows)


def volumes(found: dict[str, Cell]) -> str:
    """Do rare classes have the larger radii, where the statistics are taken and on the test images?"""
    rows = []
    for name, words in CELLS.items():
        cell = found[name]
        for radii in ("dv", "dv-debias", "bv", "pv10", "dv-test"):
            method = radii if radii in cell.methods else f"{radii} post-hoc"
            if method in cell.methods:
                keys = ("std_log_r", "std_log_alpha", "corr_r_n", "few_minus_many_log_r")
                spread, alpha, correlation, shift = (estimate(cell.described(method, key)) for key in keys)
                rows.append([words, radii, f"{spread.mean:.2f}", f"{alpha.mean:.2f}", correlation, shift])
                words = ""
    return table("| cell | radii | std log r | std log alpha | correlation with log n | few minus many |", rows)


def control(found: dict[str, Cell]) -> str:
    """What each class's own radius adds to a plain power of n that is as flat as the radii make alpha."""
    rows = []
    for name in ("cifar100-200-linear", "cifar100-100-linear", "cifar10-100-linear"):
        cell, words = found[name], CELLS[name].removeprefix("CIFAR-100-LT, ")
        for method in cell.methods:
            shape, _, form = method.partition(" ")
            fitted = f"{shape}-fitted {form}".strip()
            if fitted in cell.methods:
                numbers = [cell.difference(method, fitted, what) for what in ("all", "few", "height")]
                rows.append([words, f"{shape}, {'margins' if form else 'weights'}", *numbers])
                words = ""
    return table("| cell | method | mean class accuracy | few | height over the curve |", rows)


def readings(cell: Cell) -> str:
    rows = []
    for method, words in READINGS.items():
        if method in cell.methods:
            differences = [cell.difference(method, "ce", what) for what in Point._fields]
            rows.append([words, *differences, estimate(cell.numbers(method, "height"))])
    return table("| | all | many | medium | few | height over the curve |", rows)


def draws(found: dict[str, Cell]) -> str:
    """Cells whose classes and images are random: the volume and the shuffled radii against 1/n."""
    pairs = [("inverse", "ce"), ("inverse adjusted", "ce")]
    pairs += [(radii + form, "inverse" + form) for radii in ("dv", "dv-shuffled") for form in ("", " adjusted")]
    cells = {words: found[name] for name, words in DRAWS.items()}
    rows = [[words, len(cell.lines), *(cell.difference(*pair) for pair in pairs)] for words, cell in cells.items()]
    header = "| cell | draws | 1/n, weights, minus ce | margins, minus ce | dv minus 1/n, weights | margins |"
    return table(f"{header} shuffled radii minus 1/n, weights | margins |", rows)


def breadth(found: dict[str, Cell]) -> str:
    """Broad and narrow classes: what each radius sees, and what weights by it do."""
    rows = []
    for name, words in BREADTHS.items():
        cell = found[name]
        for method in ("dv", "bv", "r^4", "features", "features^4", "dv adjusted", "features adjusted"):
            twin = "inverse adjusted" if method.endswith("adjusted") else "inverse"
            seen = estimate([-value for value in cell.described(method, "few_minus_many_log_r")])
            moved = [cell.difference(method, twin, group) for group in ("all", "many", "few")]  # broad, narrow
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
        correlations = [[line["corr_biases_r"][key] for line in own] for key in ("dv", "dv-test")]
        correlations.append([line["corr_accuracy_r"] for line in own])
        radii = np.array([line["log_radius"] for line in own])
        spreads = [radii.mean(axis=0).std(ddof=1), np.sqrt(radii.var(axis=0, ddof=1).mean())]
        spreads.append(np.mean([line["std_over_images"] for line in own]))
        rows.append(
            [CELLS[name], len(own), *map(estimate, [gains, *correlations]), *(f"{each:.3f}" for each in spreads)]
        )
    header = "| cell | seeds | fitted biases minus the best tau | biases and training radii | biases and test radii |"
    header += " accuracy and test radii | std of test log r between classes | over seeds | over test images |"
    return table(header, rows)


def settings() -> str:
    found: dict[tuple[Any, ...], list[float]] = {}
    for line in lines_of("frozen_tower_settings"):
        found.setdefault((line["cell"], line["rate"], line["epochs"], line["decay"]), []).append(line["ce"])
    rows = [
        [cell, *(f"{each:g}" for each in key), len(values), f"{np.mean(values):.1f}"]
        for (cell, *key), values in found.items()
    ]
    return table("| cell | rate | epochs | decay | seeds | ce, validation |", rows)


def grid_lines() -> dict[str, list[Line]]:
    """The lines of each rate, number of epochs and decay, by these in words."""
    found: dict[str, list[Line]] = {}
    for line in lines_of("frozen_tower_grid"):
        found.setdefault(", ".join(f"{number:g}" for number in line["setting"]), []).append(line)
    return found


def grid() -> str:
    """Effects by rate, epochs and decay."""
    margins, rows = "inverse adjusted tau 1", []
    against = {"ce": ["inverse from 0", "inverse from 1", "inverse", margins, "inverse adjusted late"]}
    against |= {"inverse from 1": ["dv from 1"], "inverse": ["dv"], margins: ["dv adjusted tau 1"]}
    for words, own in grid_lines().items():
        test = [line["test"]["methods"] for line in own]
        pairs = [(method, other) for other, methods in against.items() for method in methods]
        rows.append([words, len(own), *(estimate([each[a][0] - each[b][0] for each in test]) for a, b in pairs)])
    header = "| rate, epochs, decay | seeds | 1/n minus ce: weights from 0 | from 1 | from half | margins | from half |"
    return table(f"{header} dv minus 1/n: weights from 1 | from half | margins |", rows)


def grid_tuned() -> str:
    """The families with tau chosen on the validation images; of margins also the largest tau that was chosen."""
    rows, curves = [], ("ce", "inverse", "inverse adjusted tau 1")
    for words, own in grid_lines().items():
        best: dict[str, list[float]] = {}
        largest = 0.0
        for line in own:
            at, of = line["validation"], line["test"]
            for name in ("inverse", "dv"):
                family = [each for each in of["methods"] if each.startswith(f"{name} adjusted tau")]
                chosen = max(family, key=lambda each: at["methods"][each][0])
                largest = max(largest, float(chosen.rpartition(" ")[2]))
                best.setdefault(f"{name} adjusted", []).append(of["methods"][chosen][0])
            for name in curves:
                best.setdefault(name, []).append(of["curves"][name][int(np.argmax(at["curves"][name]))])
        shown = (f"{np.mean(best[name]):.1f}" for name in ("ce", "inverse adjusted", "dv adjusted", *curves[1:]))
        differences = [
            [a - b for a, b in zip(best["inverse adjusted"], best[name], strict=True)] for name in curves[:2]
        ]
        rows.append([words, len(own), *shown, *map(estimate, differences), f"{largest:g}"])
    header = "| rate, epochs, decay | seeds | after training | margins 1/n | margins dv | weights 1/n, own curve |"
    header += " margins 1/n, own curve | margins minus after training | margins minus weights |"
    return table(f"{header} largest tau of margins |", rows)


def intervals() -> str:
    """Half widths of 95 % intervals that cover seeds, test images, classes."""
    rows = []
    for line in lines_of("frozen_tower_intervals"):
        words = CELLS[line["cell"]]
        for pair, numbers in line["differences"].items():
            widths = (f"{numbers[each]:.2f}" for each in ("seeds", "images", "classes"))
            rows.append([words, line["seeds"], pair.replace("inverse", "1/n"), f"{numbers['mean']:+.2f}", *widths])
            words = ""
    return table("| cell | seeds | difference | mean | ± over seeds | test images | classes |", rows)


def methods(cell: Cell) -> str:
    rows = []
    for name in cell.methods:
        above = [estimate(list(each)) for each in zip(*cell.heights(name), strict=True)]
        shape = [estimate(cell.described(name, key)).mean for key in ("std_log_alpha", "std_log_r")]
        points = (f"{value:.1f}" for value in cell.mean_point(name))
        shown = [cell.difference(name, "ce"), *above, *(f"{number:.2f}" for number in shape)]
        rows.append([name, *points, *([""] * 5 if name == "ce" else shown)])
    header = "| method | all | many | medium | few | all - ce | above ce's curve: all | few |"
    return f"**{cell.name}**, {len(cell.lines)} seeds\n\n" + table(f"{header} std log alpha | std log r |", rows)


def all_tables() -> dict[str, str]:
    """The tables of the documents, by the name in their marker."""
    main, others, linear = cells("cifar100", "cifar10"), cells("random", "breadth"), "cifar100-100-linear"
    start, both = cells("starts")[linear], cells("starts", "cifar100")[linear]
    both = Cell(linear, both.lines[: len(start.lines)])  # the seeds of `starts` come first
    return {
        "README": starts(both, README_ROWS),
        "starts": starts(start, START_ROWS),
        "overview": overview(main),
        "radii": information(main, both_forms("all")),
        "radii, few": information(main, both_forms("few")),
        "radii, height": information(main, both_forms("height")),
        "radii, after training": information(main, {"all": (" post-hoc", "all"), "height": (" post-hoc", "height")}),
        "clear gains": clear_gains(main, "all"),
        "clear heights": clear_gains(main, "height"),
        "volumes": volumes(main),
        "control": control(cells("control")),
        "readings, VL-LTR's head": readings(main["cifar100-100-language-sqrt"]),
        "readings, linear head": readings(main["cifar100-100-linear-sqrt"]),
        "draws": draws(others),
        "breadth": breadth(others),
        "oracle": oracle(),
        "settings": settings(),
        "grid": grid(),
        "grid, tuned": grid_tuned(),
        "intervals": intervals(),
        "columns": columns(lines_of("frozen_tower_columns")),
    }
