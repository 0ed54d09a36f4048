"""`vlltr-plugin evaluate --logits FILE.npz`: the logits of any model, without a checkout, a config or a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_log
from vlltr_plugin.hosts.host import Host
from vlltr_plugin.report.accuracy import require_for_evaluation
from vlltr_plugin.report.evaluate.evaluation import Evaluation, Prior, Sweep, make_evaluation
from vlltr_plugin.report.evaluate.files import NPZ, folder_for, show_and_write
from vlltr_plugin.report.labels import recorded_groups
from vlltr_plugin.report.tables import plain_console
from vlltr_plugin.report.tradeoff.curve import TradeOffError
from vlltr_plugin.report.tradeoff.sweep import checked, swept
from vlltr_plugin.runs.epoch_files import BROKEN
from vlltr_plugin.runs.files import class_summary, sha256
from vlltr_plugin.runs.log import read_settings

NEEDED = ("logits", "labels", "counts")
VALIDATION = ("val_logits", "val_labels")
OF_A_CHECKPOINT = ("checkpoint", "config", "device", "batch_size", "limit", "host_args")
"""Options that do not apply to logits."""


def run_evaluate_logits(options: argparse.Namespace, console: Console | None = None) -> list[Path]:
    """Evaluates the file that the command line names, with the settings of the run in the same folder.

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
    folder = path.absolute().parent
    log = find_log(folder)
    host = None if log is None else host_of_log(log)
    settings = {} if host is None else read_settings(folder) or {}
    groups = None if host is None else recorded_groups(host, settings, folder)
    require_for_evaluation()  # fail before the work, not after it
    evaluation = _evaluate(path, options.split or "test", Sweep.from_options(options, groups), host, settings)
    return show_and_write(evaluation, out, console or plain_console())


def _evaluate(path: Path, split: str, sweep: Sweep, host: Host | None, settings: Mapping[str, Any]) -> Evaluation:
    """Evaluates the arrays of a file, with the settings of a run in its folder; writes nothing."""
    arrays = read_arrays(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise ReportError(f"{path}: expected the arrays {', '.join(NEEDED)} but {', '.join(missing)} is missing.")
    half = [name for name in VALIDATION if name in arrays]
    if len(half) == 1:
        raise ReportError(f"{path}: expected {' and '.join(VALIDATION)}, or neither, but got {half[0]} alone.")
    notes = _take_logarithms(arrays)
    try:
        given = checked(arrays["logits"], arrays["labels"], arrays["counts"], arrays.get("draws"))
        prior = Prior.choose(sweep.prior, given.counts, given.draws, f"the draws of {path.name}")
        images = [given]
        if sweep.choose_tau != "here" and half:
            try:
                images.append(checked(arrays["val_logits"], arrays["val_labels"], given.counts, given.draws))
            except TradeOffError as error:
                raise TradeOffError(f"Of {' and '.join(VALIDATION)}: {error}") from error
        elif sweep.choose_tau == "val":
            raise TradeOffError(f"Expected {' and '.join(VALIDATION)} to choose tau on but they are not there.")
        collector, *validation = swept(images, sweep.taus, prior.values)
    except TradeOffError as error:
        raise ReportError(f"{path}: {error}") from error
    names = _names(path, arrays.get("names"), host, len(given.counts))
    own = {
        "nb_classes": len(given.counts),
        "training images": int(given.counts.sum()),
        "class counts": class_summary(given.counts.tolist()),  # also of their order
    }
    for name, value in own.items():
        if settings.get(name, value) != value:
            raise ReportError(
                f"{path}: expected logits of the run in {path.absolute().parent}, whose {name} are {settings[name]}, "
                f"but its counts say {value}. Give the training images of each class as counts, in the run's order of "
                "the classes, or put the file elsewhere."
            )
    if np.array_equal(np.bincount(given.labels.numpy(), minlength=len(given.counts)), given.counts):
        notes.append(
            "counts equal the number of test images of each class. Expected the training images of each class: groups "
            "and prior are wrong otherwise."
        )
    facts = {
        "host": None if host is None else host.name,
        "run_settings": dict(settings),
        "checkpoint": {"file": None, "sha256": None, "epoch": None},
        "config": {"file": None, "sha256": None},
        "logits": {"file": str(path), "sha256": sha256(path)},
        "data_set": "",
        "split": split,
        "split_images": len(given.labels),
        "limit": None,
        "settings": {"two_branch": False},
        "differs_from_training": {},
        "notes": notes,
    }
    return make_evaluation(facts, collector, validation[0] if validation else None, given.counts, names, sweep, prior)


def _names(path: Path, names: NDArray[Any] | None, host: Host | None, num_classes: int) -> list[str] | None:
    """The class names in the file, else those of the run."""
    if names is None:
        return None if host is None else host.class_names(path.absolute().parent, num_classes)
    if names.shape != (num_classes,) or names.dtype.kind != "U":
        raise ReportError(
            f"{path}: expected names to be {num_classes} strings, one a class, but got {list(names.shape)} of "
            f"{names.dtype}: numpy.array([...], dtype=str) makes one."
        )
    return [str(name) for name in names]


def _take_logarithms(arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Replaces probabilities by their logarithm (logits up to a constant per row); returns notes about it.

    Rows count as probabilities if they are in [0, 1] and sum to 1 to the precision of their dtype. A probability of 0
    is replaced by the smallest positive number of its dtype.
    """
    notes = []
    for name in ("logits", "val_logits"):
        values = arrays.get(name, np.zeros(0))
        if values.ndim != 2 or values.shape[1] < 2 or not np.issubdtype(values.dtype, np.floating) or not values.size:
            continue
        inside = bool((values >= 0).all() and (values <= 1).all())
        if inside and bool((abs(values.sum(axis=1, dtype=np.float64) - 1) <= 1e-2).all()):
            wide = values.astype(np.promote_types(values.dtype, np.float32))
            arrays[name] = np.log(np.maximum(wide, np.finfo(wide.dtype).tiny))
            notes.append(
                f"{name} are probabilities (rows in [0, 1] that sum to 1): their logarithm was taken as the logits."
            )
    return notes


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the arrays that this command knows from an .npz; ReportError for other files and for object arrays."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array, as of numpy.save")
            return {name: file[name] for name in (*NEEDED, "draws", "names", *VALIDATION) if name in file.files}
    except (*BROKEN, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        if "Object arrays" in reason:
            reason = "it holds an object array; convert each with .astype(float) or .astype(int)"
        raise ReportError(
            f"{path}: expected an .npz with arrays of numbers but could not read it ({reason}). Write one with "
            "numpy.savez(FILE, logits=..., labels=..., counts=...): logits [N, C], labels [N], counts [C] (training "
            "images of each class)."
        ) from error
