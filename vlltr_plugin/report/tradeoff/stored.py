"""A trade-off curve on the disk: tradeoff.csv for people, tradeoff.npz with the predictions for `compare`."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from vlltr_plugin.core.shot_groups import convention_of
from vlltr_plugin.report.tradeoff.curve import Point, TradeOff
from vlltr_plugin.report.tradeoff.prior import TradeOffError
from vlltr_plugin.runs.epoch_files import BROKEN

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
