"""The paper's tables from a results file, the published numbers beside ours."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vlltr_plugin.cifar_lt.data import is_published_set
from vlltr_plugin.cifar_lt.methods import METHODS, never_weighted
from vlltr_plugin.cifar_lt.results import DATA, SETTING, identity, interval, once_each, per_seed
from vlltr_plugin.cifar_lt.training import Schedule
from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.report.tables import Table

Runs = Sequence[dict[str, Any]]

PUBLISHED_ROW = {
    "ce": "CE",
    "en": "EN",
    "en-drw": "EN",
    "focal": "Focal loss*",
    "ldam": "LDAM*",
    "ldam-drw": "LDAM-DRW*",
    "ib": "IB*",
    "lade": "LADE*",
    "dv": "DV+NE",
    "dv-mean": "DV",
    "dv-s30": "DV+NE+S30",
    "bv-mean": "BV",
    "pv-mean": "PV",
    "pv10-mean": "PV (10 axes)",
}
"""The paper's row for a method; it does not say whether its EN is deferred, and Table 2 is without NE."""

INTERVAL = "± 95 % interval over the seeds"
"""What ± means, said in every title; see `results.interval`."""

RIVALS = ("ce", "en-drw", "inverse-drw", "dv", "inverse-la")
"""Whom every method is compared with, seed by seed."""


def tables(runs: Runs) -> list[Table]:
    """All tables of a results file: for each data set and recipe an overview, then one for each imbalance factor.

    Runs on other images never share a table. A repeated run counts once, by its newest line.
    """
    sheets = []
    for group in _grouped(once_each(runs), ("dataset", *SETTING)):
        parts = sorted(_grouped(group, ("imbalance", DATA)), key=lambda part: -float(part[0]["imbalance"]))
        several = len({part[0]["imbalance"] for part in parts}) < len(parts)
        if len(parts) > 1:
            sheets.append(_overview(parts, several))
        for part in parts:
            title = f"{_title(part[0])}, IF {part[0]['imbalance']}{_unusual(part[0])}"
            title += f", {_images(part[0])}" if several else ""
            sheets += [_errors(part, title), _paired(part, title)]
    return sheets


def notes(runs: Runs) -> list[str]:
    """What a reader of the tables has to know of the lines, a sentence or two each."""
    found = []
    lines = Counter(identity(run) for run in runs)
    repeated = [run for run in once_each(runs) if lines[identity(run)] > 1]
    if repeated:
        named = ", ".join(f"{run['method']} seed {run['seed']} ({lines[identity(run)]} lines)" for run in repeated)
        found.append(f"Repeated runs count once, by their newest line: {named}.")
    schedules = {(run["method"], run["start_epoch"], run["epochs"]) for run in runs if run["method"] in METHODS}
    warnings = [never_weighted(*schedule) for schedule in sorted(schedules)]
    return found + [f"Warning: {warning}" for warning in warnings if warning]


@cache
def published() -> dict[str, Any]:
    """Errors of the paper's Tables 1 to 3 by row, data set and imbalance factor: `[mean, standard deviation]`."""
    text = Path(__file__).with_name("published.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def published_error(method: str, dataset: str, imbalance: float) -> float | None:
    """The paper's mean error in percent, None where it has none."""
    row = PUBLISHED_ROW.get(method)
    entry = published()[row].get(dataset, {}).get(f"{imbalance:g}") if row else None
    return entry[0] if entry else None


def _overview(by_imbalance: list[Runs], several: bool) -> Table:
    """The form of Table 1: a column for each imbalance factor, and for each set of images where one has several."""
    first = by_imbalance[0][0]
    rows = []
    for method in _methods([run for part in by_imbalance for run in part]):
        cells = []
        for part in by_imbalance:
            errors = list(per_seed(list(part), method).values())
            told = _told(method, part[0])
            cells.append(
                _with_interval(errors) + (f" [{told:.1f}, {_signed(_mean(errors) - told)}]" if errors and told else "")
            )
        rows.append((method, *cells))
    columns = [f"IF {part[0]['imbalance']}" + (f"\n{_images(part[0])}" if several else "") for part in by_imbalance]
    header = ("method", *columns)
    title = f"{_title(first)}{_unusual(first)}: last-epoch error, % ({INTERVAL}) [published, difference]"
    return Table(title, header, tuple(rows))


def _errors(runs: Runs, title: str) -> Table:
    """Errors of every method on one data set, and the spread of what drives it."""
    first = runs[0]
    groups = [group for group in GROUPS if group in first["group_errors"]]
    rows = []
    for method in _methods(runs):
        own = [run for run in runs if run["method"] == method]
        last, best = per_seed(own, method), per_seed(own, method, "best_error")
        told = _told(method, first)
        grouped = [_mean([run["group_errors"][group] for run in own]) for group in groups]
        rows.append(
            (
                method,
                str(len(last)),
                _with_interval(list(last.values())),
                _with_interval(list(best.values())),
                *(f"{error:.1f}" for error in grouped),
                f"{told:.1f}" if told else "",
                _signed(_mean(list(best.values())) - told) if told else "",
                _ratio([[math.exp(r) for r in run["log_radius"]] for run in own if run["log_radius"]]),
                _ratio([run["weights"] for run in own]),
            )
        )
    header = (
        "method", "seeds", "last epoch", "best epoch", *groups, "published", "best minus\npublished",
        "largest /\nsmallest radius", "largest /\nsmallest weight",
    )  # fmt: skip
    return Table(f"{title}: test error, % ({INTERVAL})", header, tuple(rows))


def _paired(runs: Runs, title: str) -> Table:
    """Last-epoch error minus that of the rivals, seed by seed."""
    present = [rival for rival in RIVALS if rival in _methods(runs)]
    rows = []
    for method in _methods(runs):
        cells = []
        for rival in present:
            first, second = per_seed(runs, method), per_seed(runs, rival)
            pairs = [first[seed] - second[seed] for seed in first if seed in second and rival != method]
            cells.append(_signed_interval(pairs))
        rows.append((method, *cells))
    header = ("method", *(f"minus {rival}" for rival in present))
    title = f"{title}: paired differences of the last-epoch error, points ({INTERVAL}; * leaves out 0)"
    return Table(title, header, tuple(rows))


def _told(method: str, run: dict[str, Any]) -> float | None:
    """The published error; None on other images, drawn or mixed otherwise, or where no weight ever was."""
    if run["sampler"] != "uniform" or run["mixup"] or not is_published_set(run):
        return None
    if method in METHODS and METHODS[method].has_no_volume(len(run["weights"])):
        return None
    return published_error(method, run["dataset"], run["imbalance"])


def _methods(runs: Runs) -> list[str]:
    present = {run["method"] for run in runs}
    return [name for name in METHODS if name in present] + sorted(present - set(METHODS))


def _grouped(runs: Runs, keys: tuple[str, ...]) -> list[Runs]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple(run.get(key) for key in keys), []).append(run)
    return list(groups.values())


def _title(run: dict[str, Any]) -> str:
    extras = [f"{run['sampler']} sampler"] if run["sampler"] != "uniform" else []
    extras += [f"mixup {run['mixup']:g}"] if run["mixup"] else []
    extras += ["bfloat16"] if run["amp"] else []
    name = {"cifar10": "CIFAR-10-LT", "cifar100": "CIFAR-100-LT"}.get(run["dataset"], run["dataset"])
    return ", ".join([f"{name}, {run['epochs']} epochs", *extras])


def _unusual(run: dict[str, Any]) -> str:
    """What of the recipe is seldom changed, where it was."""
    usual = Schedule(epochs=run["epochs"])
    keys = ("start_epoch", "batch_size")
    return "".join(f", {key.replace('_', ' ')} {run[key]}" for key in keys if run[key] != getattr(usual, key))


def _images(run: dict[str, Any]) -> str:
    """Which images, where a data set of one name comes in several versions."""
    return f"images {run[DATA][:8]}" if DATA in run else "images not recorded"


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _with_interval(values: list[float]) -> str:
    if not values:
        return ""
    mean, width = interval(values)
    return f"{mean:.1f}" + ("" if math.isnan(width) else f" ± {width:.1f}")


def _signed_interval(pairs: list[float]) -> str:
    if not pairs:
        return ""
    mean, width = interval(pairs)
    if math.isnan(width):
        return f"{_signed(mean)} (1 seed)"
    return f"{_signed(mean)} ± {width:.1f}{' *' if abs(mean) > width else ''}"


def _signed(value: float) -> str:
    return f"{value:+.1f}"


def _ratio(vectors: list[list[float]]) -> str:
    """Mean over the runs of the largest entry over the smallest."""
    return f"{_mean([max(vector) / min(vector) for vector in vectors]):.3g}" if vectors else ""
