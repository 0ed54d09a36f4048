"""The files of an evaluation: evaluation.json, per_class.csv, the trade-off curve and the pictures."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import UPSTREAM, Convention
from vlltr_plugin.report.evaluate.evaluation import CONVENTIONS, class_accuracies
from vlltr_plugin.report.evaluate.pictures import write_pictures
from vlltr_plugin.report.evaluate.predictions import Predictions
from vlltr_plugin.report.labels import run_name
from vlltr_plugin.report.pictures import save, styled
from vlltr_plugin.report.tradeoff.curve import TradeOff, steps_of
from vlltr_plugin.report.tradeoff.pictures import draw_curves
from vlltr_plugin.report.tradeoff.stored import CSV, NPZ, PNG, digest, npz_bytes
from vlltr_plugin.runs.whole_files import write_whole

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
