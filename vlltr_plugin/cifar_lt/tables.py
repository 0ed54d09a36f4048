"""The tables of a results file, with the published numbers next to ours."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vlltr_plugin.cifar_lt.data import DATASETS, LARGEST, profile
from vlltr_plugin.cifar_lt.methods import METHODS, never_weighted
from vlltr_plugin.cifar_lt.results import DATA, SETTING, identity, once_each
from vlltr_plugin.cifar_lt.training import Schedule
from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.report.accuracy import harmonic_mean
from vlltr_plugin.report.frame import INTERVAL, Frame, Summary
from vlltr_plugin.report.tables import MISSING, Table, fixed, plus_minus, signed

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

PAPER_EPOCHS = 200

RIVALS = ("ce", "en-drw", "inverse-drw", "dv", "inverse-la")
"""The methods that every method is compared with, seed by seed."""

AT_TAU_1, AT_CHOSEN_TAU = "ce adjusted, tau 1", "ce adjusted, tau chosen"
ADJUSTED_NOTE = (
    "ce adjusted, after training: its test logits minus tau log n (Menon et al., ICLR 2021). Where it is chosen, tau "
    "has the lowest error on one half of the test images and the error is that on the other half, for both halves."
)


def frame_of(runs: Runs) -> Frame:
    """Errors in percent, ratios and measures of the last epoch by method and seed; the `error` of the best epoch."""
    frame = Frame()
    for run in runs:
        key = run["method"], run["seed"]
        numbers = {"error": run["last_error"], **run["group_errors"], "weights": _ratio(run["weights"])}
        numbers |= {name: run.get(name) for name in ("ece", "nll")}
        if run["log_radius"]:
            numbers["radii"] = _ratio([math.exp(radius) for radius in run["log_radius"]])
        if "class_errors" in run:
            accuracies = 100 - np.array(run["class_errors"])
            numbers |= {"worst": float(accuracies.min()), "harmonic": harmonic_mean(accuracies)}
        frame.add(*key, "last", numbers)
        frame.add(*key, "best", {"error": run["best_error"]})
        if run["method"] == "ce" and "adjusted_errors" in run:
            rows = np.array(run["adjusted_errors"])  # tau, and the errors on the two halves of the test images
            best = rows[:, 1:].argmin(axis=0)  # the smallest tau of equals
            chosen = float((rows[best[1], 1] + rows[best[0], 2]) / 2)
            frame.add(AT_TAU_1, run["seed"], "last", {"error": float(rows[rows[:, 0] == 1, 1:].mean())})
            frame.add(AT_CHOSEN_TAU, run["seed"], "last", {"error": chosen})
    return frame


def _ratio(values: Sequence[float]) -> float:
    return max(values) / min(values)


def tables(runs: Runs) -> list[Table]:
    """All tables of a results file: for each data set and recipe an overview, then those of each imbalance factor.

    Runs on other images never share a table. A repeated run counts once, by its newest line.
    """
    found = []
    for group in grouped(once_each(runs), ("dataset", *SETTING)):
        parts = sorted(grouped(group, ("imbalance", DATA)), key=lambda part: -float(part[0]["imbalance"]))
        several = len({part[0]["imbalance"] for part in parts}) < len(parts)
        if len(parts) > 1:
            found.append(_overview(parts, several))
        for part in parts:
            title = _title(part[0], f"IF {part[0]['imbalance']}") + (f", {_images(part[0])}" if several else "")
            found += [_errors(part, title), _paired(part, title)]
            if any("ece" in run for run in part):
                found.append(_measures(part, title))
    return found


def notes(runs: Runs) -> list[str]:
    """Notes below the tables: repeated runs, published errors of longer runs, and weights that never applied."""
    found = []
    lines = Counter(identity(run) for run in runs)
    repeated = [run for run in once_each(runs) if lines[identity(run)] > 1]
    if repeated:
        named = ", ".join(f"{run['method']} seed {run['seed']} ({lines[identity(run)]} lines)" for run in repeated)
        found.append(f"Repeated runs count once, by their newest line: {named}.")
    beside = {run["epochs"] for run in runs if _published(run["method"], run) is not None} - {PAPER_EPOCHS}
    if beside:
        others = ", ".join(map(str, sorted(beside)))
        found.append(
            f"The published errors are of {PAPER_EPOCHS} epochs; here they also stand beside runs of {others}."
        )
    schedules = {(run["method"], run["start_epoch"], run["epochs"]) for run in runs if run["method"] in METHODS}
    warnings = [never_weighted(*schedule) for schedule in sorted(schedules)]
    return found + [f"Warning: {warning}" for warning in warnings if warning]


@cache
def published() -> dict[str, Any]:
    """Errors of the paper's Tables 1 to 3 by row, data set and imbalance factor: `[mean, standard deviation]`."""
    text = Path(__file__).with_name("published.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def published_error(method: str, dataset: str, imbalance: float) -> float | None:
    """The paper's mean error in percent; None if not published."""
    row = PUBLISHED_ROW.get(method)
    entry = published()[row].get(dataset, {}).get(f"{imbalance:g}") if row else None
    return entry[0] if entry else None


def _overview(by_imbalance: list[Runs], several: bool) -> Table:
    """A table like Table 1: a column for each imbalance factor, and for each set of images if there are several."""
    frames = [frame_of(part) for part in by_imbalance]
    rows = []
    for method in methods_of([run for part in by_imbalance for run in part]):
        cells = []
        for frame, part in zip(frames, by_imbalance, strict=True):
            error, paper = frame.summary(method, "last", "error"), _published(method, part[0])
            beside = f" [{paper:.1f}, {signed(error.mean - paper, 1)}]" if error and paper else ""
            cells.append(_with_interval(error) + beside)
        rows.append((method, *cells))
    columns = [f"IF {part[0]['imbalance']}" + (f"\n{_images(part[0])}" if several else "") for part in by_imbalance]
    title = f"{_title(by_imbalance[0][0])}: last-epoch error, % [published, difference]; {INTERVAL}"
    return _table(title, ("method", *columns), rows)


def _errors(runs: Runs, title: str) -> Table:
    """Errors of every method on one data set, and the spread of radii and weights."""
    frame, rows = frame_of(runs), []
    groups = [group for group in GROUPS if group in runs[0]["group_errors"]]
    for method in methods_of(runs):
        last, best = (frame.summary(method, stage, "error") for stage in ("last", "best"))
        paper = _published(method, runs[0])
        errors = str(last.n if last else 0), _with_interval(last), _with_interval(best)
        means = (_mean(frame, method, group, ".1f") for group in groups)
        minus = signed(best.mean - paper, 1) if best and paper else MISSING
        ratios = (_mean(frame, method, metric, ".3g") for metric in ("radii", "weights"))
        rows.append((method, *errors, *means, fixed(paper, 1), minus, *ratios))
    header = (
        "method", "seeds", "last epoch", "best epoch", *groups, "published", "best minus\npublished",
        "largest /\nsmallest radius", "largest /\nsmallest weight",
    )  # fmt: skip
    return _table(f"{title}: test error, %; {INTERVAL}", header, rows)


def _paired(runs: Runs, title: str) -> Table:
    """Last-epoch error minus that of the rivals, seed by seed."""
    frame, rows = frame_of(runs), []
    rivals = [rival for rival in RIVALS if rival in methods_of(runs)]
    for method in methods_of(runs):
        cells = []
        for rival in rivals:
            apart = None if method == rival else frame.paired(method, rival, "last", "error")
            if apart is None:
                cells.append(MISSING)
            elif apart.half is None:
                cells.append(f"{signed(apart.mean, 1)} (1 seed)")
            else:
                mark = " *" if abs(apart.mean) > apart.half else ""
                cells.append(signed(apart.mean, 1) + plus_minus(apart.half, 1) + mark)
        rows.append((method, *cells))
    title = f"{title}: paired differences of the last-epoch error, points; {INTERVAL}, * excludes 0"
    return _table(title, ("method", *(f"minus {rival}" for rival in rivals)), rows)


def _measures(runs: Runs, title: str) -> Table:
    """Accuracy of the worst class, the classes' harmonic mean, and calibration."""
    frame, header = frame_of(runs), ("method", "worst class", "harmonic mean", "calibration error", "NLL (nats)")
    shown = (("worst", ".1f"), ("harmonic", ".1f"), ("ece", ".1f"), ("nll", ".3f"))
    rows = [
        (method, *(_mean(frame, method, metric, digits) for metric, digits in shown))
        for method in methods_of(runs)
        if frame.summary(method, "last", "worst")
    ]
    return Table(f"{title}: accuracy of classes and calibration error, %, mean over the seeds", header, tuple(rows))


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    adjusted = any(row[0] == AT_TAU_1 for row in rows)
    return Table(title, header, tuple(rows), ADJUSTED_NOTE if adjusted else "")


def _published(method: str, run: dict[str, Any]) -> float | None:
    """The published error; None for other images, another sampler, mixup, or if the weights never applied."""
    dataset, counts = run["dataset"], run.get("class_counts")
    if run["sampler"] != "uniform" or run["mixup"] or dataset not in LARGEST:
        return None
    # Older lines have no class counts; the name decides then.
    if counts is not None and counts != profile(LARGEST[dataset], run["imbalance"], DATASETS[dataset]):
        return None
    if method in METHODS and METHODS[method].has_no_volume(len(run["weights"])):
        return None
    return published_error(method, dataset, run["imbalance"])


def methods_of(runs: Runs) -> list[str]:
    """The methods in the order of `METHODS`, with ce adjusted after training next to ce, and others last."""
    present = {run["method"] for run in runs}
    if any(run["method"] == "ce" and "adjusted_errors" in run for run in runs):
        present |= {AT_TAU_1, AT_CHOSEN_TAU}
    known = ["ce", AT_TAU_1, AT_CHOSEN_TAU, *list(METHODS)[1:]]
    return [name for name in known if name in present] + sorted(present - set(known))


def grouped(runs: Runs, keys: tuple[str, ...]) -> list[Runs]:
    """The runs by the values of some keys."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple(run.get(key) for key in keys), []).append(run)
    return list(groups.values())


def _title(run: dict[str, Any], factor: str = "") -> str:
    """Data set, imbalance `factor` and recipe; rarely changed parts of the recipe only if changed."""
    extras = [f"{run['sampler']} sampler"] if run["sampler"] != "uniform" else []
    extras += [f"mixup {run['mixup']:g}"] if run["mixup"] else []
    extras += ["bfloat16"] if run["amp"] else []
    extras += [factor] if factor else []
    usual = Schedule(epochs=run["epochs"])
    for key in ("start_epoch", "batch_size"):
        extras += [f"{key.replace('_', ' ')} {run[key]}"] if run[key] != getattr(usual, key) else []
    name = {"cifar10": "CIFAR-10-LT", "cifar100": "CIFAR-100-LT"}.get(run["dataset"], run["dataset"])
    return ", ".join([f"{name}, {run['epochs']} epochs", *extras])


def _images(run: dict[str, Any]) -> str:
    """Identifies the images if there are several versions of a data set with one name."""
    return f"images {run[DATA][:8]}" if DATA in run else "images not recorded"


def _with_interval(summary: Summary | None) -> str:
    return MISSING if summary is None else fixed(summary.mean, 1) + plus_minus(summary.half, 1)


def _mean(frame: Frame, method: str, metric: str, digits: str) -> str:
    summary = frame.summary(method, "last", metric)
    return MISSING if summary is None else format(summary.mean, digits)
