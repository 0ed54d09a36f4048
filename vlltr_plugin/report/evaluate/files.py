"""The files of an evaluation: evaluation.json, per_class.csv, the trade-off curve and the pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import UPSTREAM, Convention, convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.accuracy import class_accuracies
from vlltr_plugin.report.evaluate.evaluation import CONVENTIONS
from vlltr_plugin.report.evaluate.pictures import draw_curves, write_pictures
from vlltr_plugin.report.evaluate.tables import print_evaluation
from vlltr_plugin.report.labels import run_name
from vlltr_plugin.report.pictures import save, styled
from vlltr_plugin.report.tradeoff.curve import Point, TradeOff, TradeOffError, steps_of
from vlltr_plugin.report.tradeoff.predictions import Predictions
from vlltr_plugin.runs.epoch_files import BROKEN
from vlltr_plugin.runs.files import write_whole

Ints = NDArray[np.int64]


def write_evaluation(
    evaluation: dict[str, Any],
    labels: Ints,
    by_rule: dict[str, Predictions],
    train_counts: Ints,
    names: list[str] | None,
    folder: Path,
    trade_off: TradeOff | None = None,
) -> list[Path]:
    """Writes everything; evaluation.json last.

    Raises:
        OSError: when one cannot be written.
    """
    pictures = write_pictures(evaluation, train_counts, folder)
    groups = UPSTREAM if trade_off is None else trade_off.groups
    pictures = write_pictures(evaluation, train_counts, folder, groups)
    table, numbers = folder / "per_class.csv", folder / "evaluation.json"
    write_whole(table, per_class_csv(labels, by_rule, train_counts, names, groups).encode())
    curve = [] if trade_off is None else _write_trade_off(trade_off, evaluation, folder)
    write_whole(numbers, (json.dumps(evaluation, indent=1, allow_nan=False) + "\n").encode())
    return [numbers, table, *curve, *pictures]


def _write_trade_off(trade_off: TradeOff, evaluation: dict[str, Any], folder: Path) -> list[Path]:
    arrays = npz_bytes(trade_off)
    evaluation["trade_off"]["sha256"] = digest(arrays)
    write_whole(folder / CSV, trade_off.csv().encode())
    write_whole(folder / NPZ, arrays)
    steps = steps_of(trade_off.rows)
    if not steps:
        return [folder / CSV, folder / NPZ]
    with styled():
        picture = save(draw_curves([(run_name(folder), steps)], evaluation["split"], trade_off.groups), folder / PNG)
    return [folder / CSV, folder / NPZ, picture]


def per_class_csv(
    labels: Ints,
    by_rule: dict[str, Predictions],
    train_counts: Ints,
    names: list[str] | None,
    groups: Convention = UPSTREAM,
) -> str:
    """One row a class: index, name, training and evaluated images, group by each convention, accuracy in percent.

    Classes without training images belong to no group; without evaluated images they have no accuracy.
    """
    conventions = dict.fromkeys((*CONVENTIONS, groups))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_class = [np.where(train_counts > 0, convention.group(train_counts), "") for convention in conventions]
    images = np.bincount(labels, minlength=len(train_counts))
    accuracies = [class_accuracies(labels, predictions.top1, len(train_counts)) for predictions in by_rule.values()]
    header = ["class", "name", "training_images", "images"]
    header += [f"group_{convention.name}" for convention in conventions] + [f"top1_{rule}" for rule in by_rule]
    writer.writerow(header)
    for index in range(len(train_counts)):
        row = [index, names[index] if names else "", int(train_counts[index]), int(images[index])]
        row += [str(group[index]) for group in of_class]
        writer.writerow(row + [repr(float(values[index])) if images[index] else "" for values in accuracies])
    return text.getvalue()


CSV, NPZ, PNG = "tradeoff.csv", "tradeoff.npz", "tradeoff.png"
PREFIX, RIGHT = "predictions_", "right_"


def npz_bytes(trade_off: TradeOff) -> bytes:
    """`taus` [T], `labels` [N], `counts` [C]; of each rule `predictions_<rule>` [T, N] and `right_<rule>` [2, N].

    Predictions are of 2 or 4 bytes each; `right_<rule>` is `TradeOff.right`.
    """
    buffer = io.BytesIO()
    of_rules: dict[str, Any] = {PREFIX + rule: found for rule, found in trade_off.predictions.items()}
    of_rules |= {RIGHT + rule: found for rule, found in trade_off.right.items()}
    np.savez_compressed(
        buffer, taus=np.array(trade_off.taus), labels=trade_off.labels, counts=trade_off.counts, **of_rules
    )
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal: evaluation.json names the tradeoff.npz that belongs to it."""
    return hashlib.sha256(content).hexdigest()


def read_trade_off(folder: Path, told: dict[str, Any]) -> TradeOff:
    """The curve of an evaluation.

    Args:
        folder: of the evaluation.
        told: the key `trade_off` of its evaluation.json.

    Raises:
        TradeOffError: where tradeoff.npz is missing, or is not the one that was written with this evaluation.json.
        KeyError: for keys that are missing in `told`.
        TypeError: for keys with other values.
    """
    path, rules = folder / NPZ, told["rules"].items()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TradeOffError(f"{path}: cannot be read ({error.strerror}), so the run has no trade-off curve") from error
    if digest(content) != told["sha256"]:
        raise TradeOffError(f"{path}: does not belong to the evaluation.json beside it: evaluate again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        predictions = {rule: found[PREFIX + rule] for rule, _ in rules}
        right = {rule: found[RIGHT + rule] for rule, _ in rules}
        taus, labels, counts = found["taus"], found["labels"], found["counts"]
    except (*BROKEN, OSError) as error:
        raise TradeOffError(f"{path}: expected the arrays of an evaluation but it is damaged") from error
    points = {rule: tuple(Point(**point) for point in points) for rule, points in rules}
    shapes = {array.shape for array in predictions.values()} | {(len(own), len(labels)) for own in points.values()}
    fit = shapes == {(len(taus), len(labels))} and {array.shape for array in right.values()} == {(2, len(labels))}
    if not fit or labels.min() < 0 or labels.max() >= len(counts):
        raise TradeOffError(f"{path}: expected arrays that fit together but it is damaged")
    return TradeOff(
        taus=tuple(taus.tolist()),
        prior=str(told["prior"]),
        groups=convention_of(told["groups"]),
        labels=labels,
        counts=counts,
        predictions=predictions,
        points=points,
        right=right,
    )


@dataclass(frozen=True)
class Outcome:
    """An evaluation, and what its files are written from.

    Attributes:
        evaluation: as documented in evaluation.py.
        labels: `[N]`.
        by_rule: the predictions of each rule.
        train_counts: training images of each class, `[C]`.
        names: the classes' names, if known.
        trade_off: the curve of the same predictions.
    """

    evaluation: dict[str, Any]
    labels: Ints
    by_rule: dict[str, Predictions]
    train_counts: Ints
    names: list[str] | None
    trade_off: TradeOff


def folder_for(wanted: Path | None, default: Path) -> Path:
    """The folder to write to, absolute: evaluating may change the current one.

    Raises:
        ReportError: it is a file.
    """
    folder = (wanted or default).absolute()
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"Expected --out to name a folder but {folder} is a file.")
    return folder


def show_and_write(outcome: Outcome, folder: Path, console: Console) -> list[Path]:
    """Writes an evaluation's files, prints it and names them.

    Raises:
        OSError: a file cannot be written; the tables are printed all the same.
    """
    try:  # first: who reads the tables may stop reading
        files = write_evaluation(
            outcome.evaluation,
            outcome.labels,
            outcome.by_rule,
            outcome.train_counts,
            outcome.names,
            folder,
            outcome.trade_off,
        )
    finally:
        print_evaluation(outcome.evaluation, console)
    for path in files:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    return files
