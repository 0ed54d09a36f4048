"""The paper's tables from a results file, the published numbers beside ours."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.paired import difference
from vlltr_plugin.cifar_lt.results import RUN, mean_and_std, per_seed
from vlltr_plugin.report.groups import GROUPS
from vlltr_plugin.report.sheets import Sheet

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

RIVALS = ("ce", "en-drw", "inverse-drw", "dv")
"""Whom every method is compared with, seed by seed."""

SETTING = tuple(key for key in RUN if key not in ("dataset", "imbalance", "method", "seed"))


def tables(runs: Runs) -> list[Sheet]:
    """All tables of a results file: for each data set and recipe an overview, then one for each imbalance factor.

    Args:
        runs: lines of the results file.
    """
    sheets = []
    for group in _grouped(runs, ("dataset", *SETTING)):
        by_imbalance = sorted(_grouped(group, ("imbalance",)), key=lambda part: -int(part[0]["imbalance"]))
        if len(by_imbalance) > 1:
            sheets.append(_overview(by_imbalance))
        for part in by_imbalance:
            sheets += [_errors(part), _paired(part)]
    return sheets


@cache
def published() -> dict[str, Any]:
    """Errors of the paper's Tables 1 to 3 by row, data set and imbalance factor: `[mean, standard deviation]`."""
    text = Path(__file__).with_name("published.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def published_error(method: str, dataset: str, imbalance: int) -> float | None:
    """The paper's mean error in percent, None where it has none."""
    row = PUBLISHED_ROW.get(method)
    entry = published()[row].get(dataset, {}).get(str(imbalance)) if row else None
    return entry[0] if entry else None


def _overview(by_imbalance: list[Runs]) -> Sheet:
    """The form of Table 1: a column for each imbalance factor."""
    first = by_imbalance[0][0]
    rows = []
    for method in _methods([run for part in by_imbalance for run in part]):
        cells = []
        for part in by_imbalance:
            errors = list(per_seed(list(part), method).values())
            told = _told(method, part[0])
            cells.append(
                _spread(errors) + (f" [{told:.1f}, {_signed(_mean(errors) - told)}]" if errors and told else "")
            )
        rows.append((method, *cells))
    header = ("method", *(f"IF {part[0]['imbalance']}" for part in by_imbalance))
    return Sheet(f"{_title(first)}: last-epoch error, % [published, difference]", header, tuple(rows))


def _errors(runs: Runs) -> Sheet:
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
                _spread(list(last.values())),
                _spread(list(best.values())),
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
    return Sheet(f"{_title(first)}, IF {first['imbalance']}: test error, %", header, tuple(rows))


def _paired(runs: Runs) -> Sheet:
    """Last-epoch error minus that of the rivals, seed by seed."""
    first = runs[0]
    present = [rival for rival in RIVALS if rival in _methods(runs)]
    rows = []
    for method in _methods(runs):
        cells = []
        for rival in present:
            found = difference(per_seed(list(runs), method), per_seed(list(runs), rival))
            if rival == method or found is None:
                cells.append("")
            elif math.isnan(found.half_width):
                cells.append(f"{_signed(found.mean)} (1 seed)")
            else:
                cells.append(f"{_signed(found.mean)} ± {found.half_width:.1f}{' *' if found.clear else ''}")
        rows.append((method, *cells))
    header = ("method", *(f"minus {rival}" for rival in present))
    title = f"{_title(first)}, IF {first['imbalance']}: paired differences of the last-epoch error, points"
    return Sheet(f"{title} (± 95 % interval over the seeds; * leaves out 0)", header, tuple(rows))


def _told(method: str, run: dict[str, Any]) -> float | None:
    """The published error, None where the run does not draw and mix as the paper's did."""
    if run["sampler"] != "uniform" or run["mixup"]:
        return None
    return published_error(method, run["dataset"], run["imbalance"])


def _methods(runs: Runs) -> list[str]:
    present = {run["method"] for run in runs}
    return [name for name in METHODS if name in present] + sorted(present - set(METHODS))


def _grouped(runs: Runs, keys: tuple[str, ...]) -> list[Runs]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
    return list(groups.values())


def _title(run: dict[str, Any]) -> str:
    extras = [f"{run['sampler']} sampler"] if run["sampler"] != "uniform" else []
    extras += [f"mixup {run['mixup']:g}"] if run["mixup"] else []
    extras += ["bfloat16"] if run["amp"] else []
    name = {"cifar10": "CIFAR-10-LT", "cifar100": "CIFAR-100-LT"}.get(run["dataset"], run["dataset"])
    return ", ".join([f"{name}, {run['epochs']} epochs", *extras])


def _mean(values: list[float]) -> float:
    return mean_and_std(values)[0] if values else math.nan


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    mean, std = mean_and_std(values)
    return f"{mean:.1f}" + ("" if math.isnan(std) else f" ± {std:.1f}")


def _signed(value: float) -> str:
    return f"{value:+.1f}"


def _ratio(vectors: list[list[float]]) -> str:
    """Mean over the runs of the largest entry over the smallest."""
    return f"{_mean([max(vector) / min(vector) for vector in vectors]):.3g}" if vectors else ""
