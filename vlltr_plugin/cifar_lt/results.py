"""The results file: one JSON line for each finished run."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vlltr_plugin.cifar_lt.training import Training
from vlltr_plugin.core.class_volume import ClassVolume
from vlltr_plugin.report.tradeoff.interval import Variance, half_width
from vlltr_plugin.runs.files import is_cut

SETTING = ("epochs", "start_epoch", "sampler", "mixup", "batch_size", "amp")
"""The recipe of a run, see `Schedule.labels`."""

RUN = ("dataset", "imbalance", *SETTING, "method", "seed")
"""What every line says of its run."""

DATA = "data"
"""Digest of the images and labels, see `data.digest`."""


class ResultsError(ValueError):
    """The results file is not one."""


def result(training: Training, replica: int) -> dict[str, Any]:
    """A finished run's line: errors in percent, the weights and log radii of the last epoch, its share of seconds."""
    curve = training.curve[replica]
    weighting, weights = training.criteria[replica].weighting, training.weights[replica].double()
    line: dict[str, Any] = {
        "seed": training.seeds[replica],
        "last_error": curve[-1][1],
        "best_error": min(error for _, error in curve),
        **training.measured[replica],
        "curve": [[epoch, error] for epoch, error in curve],
        "weights": [float(f"{alpha:.6g}") for alpha in weights.tolist()],
        "class_counts": training.batches.class_counts.tolist(),
        "expected_alpha": float((weights * weighting.draws.cpu()).sum() / weighting.draws.sum()),
        "log_radius": None,
        "seconds": round(training.seconds / len(training.seeds), 1),
        "together": len(training.seeds),
        "device": _device(training.batches.device),
        "threads": torch.get_num_threads(),
        "compile": training.schedule.compile,
        "torch": torch.__version__,
    }
    if isinstance(weighting, ClassVolume):
        line["log_radius"] = [round(float(radius), 5) for radius in weighting.log_radius]
        line["substituted"] = int(weighting.substituted.sum())
    return line


def append(path: Path, *lines: dict[str, Any]) -> None:
    """Adds runs to the file, in one write, on lines of their own even if the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as file:
        file.write((b"\n" if torn else b"") + b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """The runs of a results file without lines cut off by a kill; ResultsError where another line is no run."""
    runs = []
    lines = path.read_text("utf-8", errors="replace").splitlines()
    for number, text in enumerate(lines, 1):
        if not text.strip().strip("\0"):  # zeros: what some file systems leave of a line when the power fails
            continue
        try:
            line = json.loads(text)
            missing = [key for key in (*RUN, "last_error", "best_error") if key not in line]
        except (ValueError, TypeError):
            line, missing = None, []
        if not isinstance(line, dict) or missing:
            if text.startswith("{") and (not text.rstrip().endswith("}") or is_cut(text)):
                continue  # cut off; the run was never reported as done
            reason = f"it lacks {', '.join(missing)}" if missing else "it is no JSON object"
            raise ResultsError(f"Expected line {number} of {path} to be the result of a run but {reason}.")
        runs.append(line)
    return runs


def identity(line: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a run from others: images (their digest, whatever they are called), recipe, method and seed."""
    images = line.get(DATA) or (line["dataset"], line["imbalance"])
    return (images, *(line[key] for key in (*SETTING, "method", "seed")))


def once_each(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs without repetitions; of a run repeated, the newest line in the place of the first."""
    return list({identity(run): run for run in runs}.values())


def per_seed(runs: Sequence[dict[str, Any]], method: str, measure: str = "last_error") -> dict[int, float]:
    """A measure of a method for each seed; of a run repeated, the newest."""
    return {run["seed"]: run[measure] for run in runs if run["method"] == method}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval over the seeds (Student's t); nan for one value."""
    number = len(values)
    if number < 2:
        return math.fsum(values), math.nan
    return statistics.fmean(values), half_width([Variance(statistics.variance(values) / number, number - 1)])


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
