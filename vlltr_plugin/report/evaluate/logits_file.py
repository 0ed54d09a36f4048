"""`vlltr-plugin evaluate --logits FILE.npz`: the logits of any model, without a checkout, a config or a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, get_host, host_of_log
from vlltr_plugin.report.accuracy import require_for_evaluation
from vlltr_plugin.report.evaluate.evaluation import Evaluation, Prior, Sweep, make_evaluation
from vlltr_plugin.report.evaluate.files import NPZ, folder_for, show_and_write
from vlltr_plugin.report.labels import recorded_groups
from vlltr_plugin.report.tradeoff.curve import TradeOffError
from vlltr_plugin.report.tradeoff.sweep import checked, swept
from vlltr_plugin.runs.epoch_files import BROKEN
from vlltr_plugin.runs.files import sha256
from vlltr_plugin.runs.log import read_settings

NEEDED = ("logits", "labels", "counts")
NAMES = "names"
VALIDATION = ("val_logits", "val_labels")
OF_A_CHECKPOINT = ("checkpoint", "config", "device", "batch_size", "limit", "host_args")
"""Options that make no sense for logits."""


@dataclass(frozen=True)
class RunBeside:
    """The run in whose folder a file of logits is, as far as it is known."""

    host: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    groups: Convention | None = None
    folder: Path | None = None


def run_evaluate_logits(options: argparse.Namespace, console: Console | None = None) -> list[Path]:
    """Evaluates the file that the command line names.

    Raises:
        ReportError: for unusable input; nothing is written then.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: a file cannot be read or written.
    """
    given = [name for name in OF_A_CHECKPOINT if getattr(options, name)]
    if given:
        raise ReportError(f"Expected --logits alone but got {', '.join(given)} too, which belong to a checkpoint.")
    path: Path = options.logits
    out = folder_for(options.out, path.with_suffix(""))
    if not path.is_file():
        raise FileNotFoundError(f"Expected --logits to name a file but there is none at {path}.")
    if (out / NPZ).exists() and (out / NPZ).samefile(path):
        raise ReportError(f"Expected --out another folder: {path} would be replaced there.")
    run = _run_beside(path)
    require_for_evaluation()  # before the work, not after it
    evaluation = evaluate_logits(path, options.split or "test", Sweep.from_options(options, run.groups), run)
    return show_and_write(evaluation, out, console or Console())


def _run_beside(path: Path) -> RunBeside:
    folder = path.absolute().parent
    log = find_log(folder)
    if log is None:
        return RunBeside(folder=folder)
    host = host_of_log(log)
    settings = read_settings(folder) or {}
    return RunBeside(host.name, settings, recorded_groups(host, settings, folder), folder)


def evaluate_logits(path: Path, split: str, sweep: Sweep, run: RunBeside) -> Evaluation:
    """Evaluates the arrays of a file; writes nothing. Raises as `run_evaluate_logits`."""
    arrays = read_arrays(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise ReportError(f"{path}: expected the arrays {', '.join(NEEDED)} but {', '.join(missing)} is missing.")
    half = [name for name in VALIDATION if name in arrays]
    if len(half) == 1:
        raise ReportError(f"{path}: expected {' and '.join(VALIDATION)}, or neither, but got {half[0]} alone.")
    try:
        given = checked(as_logits(arrays["logits"]), arrays["labels"], arrays["counts"], arrays.get("draws"))
        prior = Prior.choose(sweep.prior, given.counts, given.draws, f"the draws of {path.name}")
        images = [given]
        if sweep.choose_tau != "here" and half:
            images.append(checked(as_logits(arrays["val_logits"]), arrays["val_labels"], given.counts, given.draws))
        elif sweep.choose_tau == "val":
            raise TradeOffError(f"Expected {' and '.join(VALIDATION)} to choose tau on but they are not there.")
        collector, *validation = swept(images, sweep.taus, prior.values)
    except TradeOffError as error:
        raise ReportError(f"{path}: {error}") from error
    names = _names(path, arrays, run, len(given.counts))
    _refuse_another_run(path, run, given.counts)
    number = len(given.labels)
    facts = {
        "host": run.host,
        "run_settings": dict(run.settings),
        "checkpoint": {"file": None, "sha256": None, "epoch": None},
        "config": {"file": None, "sha256": None},
        "logits": {"file": str(path), "sha256": sha256(path)},
        "data_set": "",
        "split": split,
        "split_images": number,
        "limit": None,
        "settings": {"two_branch": False},
        "differs_from_training": {},
        "notes": _notes(arrays, given.labels.numpy(), given.counts),
    }
    return make_evaluation(facts, collector, validation[0] if validation else None, given.counts, names, sweep, prior)


def _names(path: Path, arrays: dict[str, NDArray[Any]], run: RunBeside, num_classes: int) -> list[str] | None:
    """Class names from the file, else from the run."""
    if NAMES in arrays:
        names = arrays[NAMES]
        if names.shape != (num_classes,) or names.dtype.kind != "U":
            raise ReportError(
                f"{path}: expected names to be {num_classes} strings, one a class, but got {list(names.shape)} of "
                f"{names.dtype}: numpy.array([...], dtype=str) makes one."
            )
        return [str(name) for name in names]
    if run.host is None or run.folder is None:
        return None
    return get_host(run.host).class_names(run.folder, num_classes)


def _refuse_another_run(path: Path, run: RunBeside, counts: NDArray[np.int64]) -> None:
    for name, value in (("nb_classes", len(counts)), ("training images", int(counts.sum()))):
        if run.settings.get(name, value) != value:
            raise ReportError(
                f"{path}: expected logits of the run in {run.folder}, whose {name} are {run.settings[name]}, but its "
                f"counts say {value}. Give the training images of each class as counts, or put the file elsewhere."
            )


def are_probabilities(values: NDArray[Any]) -> bool:
    """Whether each row lies in [0, 1] and sums to 1, to the precision of its type."""
    if values.ndim != 2 or values.shape[1] < 2 or not np.issubdtype(values.dtype, np.floating) or not values.size:
        return False
    if not bool((values >= 0).all() and (values <= 1).all()):
        return False
    return bool((abs(values.sum(axis=1, dtype=np.float64) - 1) <= 1e-2).all())


def as_logits(values: NDArray[Any]) -> NDArray[Any]:
    """Probabilities as their logarithm, which is the logits up to a constant of each row; others as they are.

    A probability of 0 is taken as the smallest number of its type.
    """
    if not are_probabilities(values):
        return values
    wide = values.astype(np.promote_types(values.dtype, np.float32))
    logits: NDArray[Any] = np.log(np.maximum(wide, np.finfo(wide.dtype).tiny))
    return logits


def _notes(arrays: dict[str, NDArray[Any]], labels: NDArray[np.int64], counts: NDArray[np.int64]) -> list[str]:
    """Possible mistakes in the arrays of the file."""
    found = [
        f"{name} are probabilities (rows in [0, 1] that sum to 1): their logarithm was taken as the logits."
        for name in ("logits", "val_logits")
        if name in arrays and are_probabilities(arrays[name])
    ]
    if np.array_equal(np.bincount(labels, minlength=len(counts)), counts):
        found.append(
            "counts equal the number of test images of each class. Expected the training images of each class: groups "
            "and prior are wrong otherwise."
        )
    return found


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz that this command knows; a ReportError for other files and for arrays of objects."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array, as of numpy.save")
            return {name: file[name] for name in (*NEEDED, "draws", NAMES, *VALIDATION) if name in file.files}
    except (*BROKEN, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        if "Object arrays" in reason:
            reason = "it holds an object array; convert each with .astype(float) or .astype(int)"
        raise ReportError(
            f"{path}: expected an .npz with arrays of numbers but could not read it ({reason}). Write one with "
            "numpy.savez(FILE, logits=..., labels=..., counts=...): logits [N, C], labels [N], counts [C] (training "
            "images of each class)."
        ) from error
