"""The files of an evaluation: evaluation.json, per_class.csv, the trade-off curve (.csv, .npz) and the pictures."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import CONVENTIONS, convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.accuracy import class_accuracies
from vlltr_plugin.report.evaluate.evaluation import Evaluation
from vlltr_plugin.report.evaluate.pictures import draw_evaluation
from vlltr_plugin.report.evaluate.tables import print_evaluation
from vlltr_plugin.report.labels import run_name
from vlltr_plugin.report.pictures import save, styled
from vlltr_plugin.report.tables import Table
from vlltr_plugin.report.tradeoff.curve import Point, TradeOff, TradeOffError
from vlltr_plugin.report.tradeoff.predictions import Predictions
from vlltr_plugin.runs.epoch_files import BROKEN
from vlltr_plugin.runs.files import sha256, write_whole

JSON, PER_CLASS, CSV, NPZ = "evaluation.json", "per_class.csv", "tradeoff.csv", "tradeoff.npz"
PREFIX, RIGHT = "predictions_", "right_"

Ints = NDArray[np.int64]


def folder_for(wanted: Path | None, default: Path) -> Path:
    """The output folder as an absolute path, since evaluating may change the current folder; ReportError for a file."""
    folder = (wanted or default).absolute()
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"Expected --out to name a folder but {folder} is a file.")
    return folder


def is_of_run(checkpoint: dict[str, Any], run: Path) -> bool:
    """False if the run in a folder has a checkpoint of that name with other content than the one evaluated."""
    own = run / Path(checkpoint.get("file") or "").name
    return not own.is_file() or sha256(own) == checkpoint["sha256"]


def show_and_write(evaluation: Evaluation, folder: Path, console: Console) -> list[Path]:
    """Writes an evaluation's files, prints its tables (even if a file cannot be written) and names the files."""
    try:  # files first: the reader of the tables may close the pipe
        files = write_evaluation(evaluation, folder)
    finally:
        print_evaluation(evaluation.content, console)
    for path in files:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    return files


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Writes everything; evaluation.json last.

    tradeoff.npz has `taus` [T], `labels` [N], `counts` [C]; of each rule `predictions_<rule>` [T, N], of 2 or 4 bytes
    each, and `right_<rule>` [2, N], see `TradeOff.right`.
    """
    content, curve, arrays = evaluation.content, evaluation.curve, io.BytesIO()
    of_rules: dict[str, Any] = {PREFIX + rule: found for rule, found in curve.predictions.items()}
    of_rules |= {RIGHT + rule: found for rule, found in curve.right.items()}
    np.savez_compressed(arrays, taus=np.array(curve.taus), labels=curve.labels, counts=curve.counts, **of_rules)
    # evaluation.json names the tradeoff.npz that belongs to it.
    content["trade_off"]["sha256"] = hashlib.sha256(arrays.getvalue()).hexdigest()
    with styled():
        figures = draw_evaluation(content, curve, run_name(folder))
        pictures = [save(figure, folder / name) for name, figure in figures.items()]
    files = {
        PER_CLASS: per_class_csv(evaluation.by_rule, curve, evaluation.names).encode(),
        CSV: curve.csv().encode(),
        NPZ: arrays.getvalue(),
        JSON: (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(),
    }
    for name, data in files.items():
        write_whole(folder / name, data)
    return [*(folder / name for name in (JSON, PER_CLASS, CSV, NPZ)), *pictures]


def per_class_csv(by_rule: dict[str, Predictions], curve: TradeOff, names: list[str] | None) -> str:
    """One row per class: index, name, training and evaluated images, group by each convention, accuracy in percent.

    Classes without training images belong to no group; without evaluated images they have no accuracy.
    """
    labels, counts = curve.labels, curve.counts
    conventions = dict.fromkeys((*CONVENTIONS, curve.groups))
    of_class = [convention.group(counts) for convention in conventions]
    images = np.bincount(labels, minlength=len(counts))
    of_rules = [class_accuracies(labels, one.top1, len(counts)) for one in by_rule.values()]
    header = ["class", "name", "training_images", "images", *(f"group_{convention.name}" for convention in conventions)]
    header += [f"top1_{rule}" for rule in by_rule]
    rows = []
    for index in range(len(counts)):
        accuracies = [float(accuracy[index]) if images[index] else "" for accuracy in of_rules]
        name = names[index] if names else ""
        rows.append((index, name, counts[index], images[index], *(group[index] for group in of_class), *accuracies))
    return Table("", tuple(header), tuple(rows)).csv()


def read_trade_off(folder: Path, content: dict[str, Any]) -> TradeOff:
    """Reads the curve of an evaluation from `trade_off` in its evaluation.json and from the tradeoff.npz beside it.

    Raises a TradeOffError if tradeoff.npz is missing, damaged, or was not written with this evaluation.json; KeyError
    and TypeError for missing keys and wrong values in `content`.
    """
    path, rules = folder / NPZ, content["rules"].items()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TradeOffError(f"{path}: cannot be read ({error.strerror}), so the run has no trade-off curve") from error
    if hashlib.sha256(data).hexdigest() != content["sha256"]:
        raise TradeOffError(f"{path}: does not belong to the evaluation.json beside it: evaluate again")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        predictions = {rule: found[PREFIX + rule] for rule, _ in rules}
        right = {rule: found[RIGHT + rule] for rule, _ in rules}
        taus, labels, counts = found["taus"], found["labels"], found["counts"]
    except (*BROKEN, OSError) as error:
        raise TradeOffError(f"{path}: expected the arrays of an evaluation but it is damaged") from error
    unknown = {"macro_top1": math.nan}  # earlier versions did not write it
    points = {rule: tuple(Point(**(unknown | point)) for point in points) for rule, points in rules}
    shapes = {array.shape for array in predictions.values()} | {(len(own), len(labels)) for own in points.values()}
    fit = shapes == {(len(taus), len(labels))} and {array.shape for array in right.values()} == {(2, len(labels))}
    if not fit or labels.min() < 0 or labels.max() >= len(counts):
        raise TradeOffError(f"{path}: expected arrays that fit together but it is damaged")
    groups = convention_of(content["groups"])
    return TradeOff(tuple(taus.tolist()), str(content["prior"]), groups, labels, counts, predictions, points, right)
