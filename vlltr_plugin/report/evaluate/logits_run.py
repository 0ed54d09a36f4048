"""`vlltr-plugin evaluate --logits FILE.npz`: the logits of any model, without a checkout, a config or a checkpoint."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.evaluate.calibration import require_for_evaluation
from vlltr_plugin.report.evaluate.evaluation import FORMAT, evaluate_predictions
from vlltr_plugin.report.evaluate.outcome import Outcome, folder_for, show_and_write
from vlltr_plugin.report.evaluate.trade_off import Sweep, chosen_prior, sweep_of, told
from vlltr_plugin.report.tradeoff.curve import curve_of
from vlltr_plugin.report.tradeoff.logits import checked, swept
from vlltr_plugin.report.tradeoff.prior import TradeOffError
from vlltr_plugin.report.tradeoff.stored import NPZ
from vlltr_plugin.runs.epoch_arrays import BROKEN
from vlltr_plugin.runs.whole_files import sha256

NEEDED = ("logits", "labels", "counts")
VALIDATION = ("val_logits", "val_labels")
OF_A_CHECKPOINT = ("checkpoint", "config", "device", "batch_size", "limit", "host_args")
"""Options that say nothing about logits that are there already."""


def run_evaluate_logits(options: argparse.Namespace, console: Console | None = None) -> list[Path]:
    """Evaluates what the command line asks for.

    Args:
        options: `logits`, `split`, `out`, those of the curve; none of `OF_A_CHECKPOINT`.
        console: where to print.

    Returns:
        The files written.

    Raises:
        ReportError: for unusable input; nothing is written then.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: a file cannot be read or written.
    """
    given = [name for name in OF_A_CHECKPOINT if getattr(options, name)]
    if given:
        raise ReportError(f"Expected --logits alone but got {', '.join(given)} too, which belong to a checkpoint.")
    out = folder_for(options.out, options.logits.with_suffix(""))
    if not options.logits.is_file():
        raise FileNotFoundError(f"Expected --logits to name a file but there is none at {options.logits}.")
    if (out / NPZ).exists() and (out / NPZ).samefile(options.logits):
        raise ReportError(f"Expected --out another folder: {options.logits} would be replaced there.")
    require_for_evaluation()  # before the work, not after it
    return show_and_write(
        evaluate_logits(options.logits, options.split or "test", sweep_of(options)), out, console or Console()
    )


def evaluate_logits(path: Path, split: str, sweep: Sweep) -> Outcome:
    """Evaluates the arrays of a file; writes nothing.

    Args:
        path: an .npz with `logits` [N, C], `labels` [N] and `counts` [C], and optionally `draws` [C], and
            `val_logits` [M, C] and `val_labels` [M] of a validation split to choose tau on. See `trade_off`.
        split: what the images are called, `"test"` or `"val"`.
        sweep: of tau.

    Raises:
        ReportError: for a file that does not hold this.
        OSError: it cannot be read.
    """
    arrays = read_arrays(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise ReportError(f"{path}: expected the arrays {', '.join(NEEDED)} but {', '.join(missing)} is missing.")
    half = [name for name in VALIDATION if name in arrays]
    if len(half) == 1:
        raise ReportError(f"{path}: expected {' and '.join(VALIDATION)}, or neither, but got {half[0]} alone.")
    try:
        given = checked(arrays["logits"], arrays["labels"], arrays["counts"], arrays.get("draws"))
        prior = chosen_prior(sweep.prior, given.counts, given.draws, f"the draws of {path.name}")
        images = [given]
        if sweep.choose_tau != "here" and all(name in arrays for name in VALIDATION):
            images.append(checked(arrays["val_logits"], arrays["val_labels"], given.counts, given.draws))
        elif sweep.choose_tau == "val":
            raise TradeOffError(f"Expected {' and '.join(VALIDATION)} to choose tau on but they are not there.")
        collectors = swept(images, sweep.taus, prior.values)
    except TradeOffError as error:
        raise ReportError(f"{path}: {error}") from error
    curves = [curve_of(one, given.counts, prior.name, sweep.groups) for one in collectors]
    collector, trade_off = collectors[0], curves[0]
    labels, by_rule = collector.labels(), collector.predictions()
    evaluation: dict[str, Any] = {
        "format": FORMAT,
        "plugin_version": _version(),
        "checkpoint": {"file": None, "sha256": None, "epoch": None},
        "config": {"file": None, "sha256": None},
        "logits": {"file": str(path), "sha256": sha256(path)},
        "data_set": "",
        "split": split,
        "labels_sha256": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
        "images": len(labels),
        "split_images": len(labels),
        "limit": None,
        "classes": len(given.counts),
        "not_finite": 0,
        "settings": {"two_branch": False},
        "differs_from_training": {},
    } | evaluate_predictions(labels, by_rule, given.counts)
    evaluation["trade_off"] = told(trade_off, prior, split, *curves[1:])
    return Outcome(evaluation, labels, by_rule, given.counts, None, trade_off)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz that this command knows.

    Raises:
        ReportError: it is none, or holds objects in place of numbers.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {name: file[name] for name in (*NEEDED, "draws", *VALIDATION) if name in file.files}
    except (*BROKEN, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReportError(
            f"{path}: expected an .npz with arrays of numbers but could not read it ({reason})."
        ) from error


def _version() -> str:
    from vlltr_plugin import __version__

    return __version__
