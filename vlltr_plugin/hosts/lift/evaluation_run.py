"""`evaluate` for LIFT: its own main.py builds and tests the model; what comes out is read here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Message, run_host
from vlltr_plugin.hosts.evaluation import Collector, EvaluateRequest, Progress, TrainedModel
from vlltr_plugin.hosts.lift.checkpoint import checkpoint_path, read_parts
from vlltr_plugin.hosts.lift.log import find_log, read_config, read_run
from vlltr_plugin.runs.files import sha256

BATCH = 1024
"""Images whose logits are scored at once."""


@contextmanager
def open_trained(request: EvaluateRequest, irrelevant: frozenset[str], progress: Progress) -> Iterator[TrainedModel]:
    """Tests the checkpoint in a process of the host's; writes nothing that stays.

    Raises:
        ReportError: for unusable input, or when the host's code fails.
        OSError: when a file is missing.
    """
    path = checkpoint_path(request.checkpoint).resolve()
    _refuse_val(request.split or "test")
    read_parts(path)  # before the host builds anything
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-evaluate-") as folder:
        out = Path(folder) / "test.npz"
        facts = _run(request, path, out, progress)
        with np.load(out) as file:
            arrays = {name: file[name] for name in file.files}
    config = read_config(facts["config"].splitlines())
    yield TrainedModel(
        split="test",
        classes=facts["classes"],
        train_counts=arrays["counts"].astype(np.int64),
        draws=arrays.get("draws"),
        draws_from=facts["draws_from"],
        names=facts["names"],
        facts={
            "checkpoint": {"file": str(path), "sha256": sha256(path), "epoch": None},
            "config": {"file": None, "sha256": None},
            "data_set": facts["data_set"],
            "settings": {
                "model": facts["model"],
                "two_branch": False,
                "device": facts["device"],
                "batch_size": facts["batch_size"],
                "host_args": list(request.host_args),
            },
            "differs_from_training": _differences(path.parent, config, irrelevant),
        },
        predict=partial(_predict, arrays, facts["split_images"]),
        host_log=partial(host_log, arrays),
    )


def _run(request: EvaluateRequest, path: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """The facts that the host's process tells."""
    facts: dict[str, Any] = {}

    def take(message: Message) -> None:
        if "done" in message:
            progress(message["done"], message["total"])
        facts.update(message.get("facts", {}))

    asked = {"checkpoint": str(path), "out": str(out), "limit": request.limit, "batch_size": request.batch_size}
    arguments = [*request.host_args, "output_dir", str(out.with_name("output"))]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if request.device == "cpu" else {}
    task = ("vlltr_plugin.hosts.lift.evaluation_task:evaluate", asked | {"device": request.device})
    run_host(request.checkout.resolve(), arguments, task, take, hidden)
    return facts


def _predict(arrays: dict[str, NDArray[Any]], whole: int, collector: Collector, split: str) -> int:
    _refuse_val(split)
    for start in range(0, len(arrays["labels"]), BATCH):
        logits, labels = (torch.from_numpy(arrays[name][start : start + BATCH]) for name in ("logits", "labels"))
        collector.add(logits, labels)
    return whole


def _refuse_val(split: str) -> None:
    if split != "test":
        raise ReportError(f"Expected the split to be test but got {split!r}: LIFT has no validation split.")


def _differences(folder: Path, here: dict[str, Any], irrelevant: frozenset[str]) -> dict[str, dict[str, str]]:
    """Where the config differs from the one in the log beside the checkpoint; values by `repr`."""
    there: dict[str, Any] = {}
    with suppress(ReportError, OSError):
        log = find_log(folder)
        there = {} if log is None else read_run(log).args
    return {
        key: {"here": repr(here[key]), "training": repr(there[key])}
        for key in sorted(here.keys() & there.keys() - irrelevant - {"model_dir"})
        if here[key] != there[key]
    }


def host_log(
    arrays: dict[str, NDArray[Any]], labels: NDArray[np.int64], top1: NDArray[np.int64]
) -> dict[str, float | None]:
    """LIFT's own result on the test set, by the keys of its log; a group's number is the mean of its classes."""
    images = np.bincount(labels, minlength=len(arrays["counts"]))
    hits = np.bincount(labels[labels == top1], minlength=len(images))
    tested = images > 0
    accuracy = np.divide(100.0 * hits, images, where=tested, out=np.full(len(images), np.nan))
    known = accuracy[tested]
    found: dict[str, float | None] = {
        "overall": 100.0 * float((labels == top1).mean()),
        "macro": float(known.mean()),
        "harmonic": float(100.0 / np.mean(100.0 / np.maximum(known, 0.001))),
    }
    for group in ("many", "medium", "few"):
        if group in arrays:
            inside = accuracy[arrays[group]]
            found[group] = float(np.nanmean(inside)) if np.isfinite(inside).any() else None
    return found
