"""The results file: one JSON line for each finished run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlltr_plugin.cifar_lt.training import SIGMOID_BASES, Schedule, Training
from vlltr_plugin.core.class_volume import ClassVolume
from vlltr_plugin.core.shot_groups import OTHERS
from vlltr_plugin.report.accuracy import class_accuracies, group_masks, reliability
from vlltr_plugin.runs.files import is_cut

SETTING = tuple(Schedule().labels())  # the recipe of a run
RUN = ("dataset", "imbalance", *SETTING, "method", "seed")  # keys that every line has
DATA = "data"  # digest of the images and labels, see `data.digest`
TAUS = tuple(step / 4 for step in range(13))
"""Strengths of post-hoc logit adjustment (Menon et al., ICLR 2021, Eq. 9) whose errors are stored."""


class ResultsError(ValueError):
    """Raised if the file holds something other than results."""


def results_of(training: Training) -> list[dict[str, Any]]:
    """The lines of a finished training, one for each of its seeds."""
    logits = training.test_logits()
    shifted = training.adjusted(logits).cpu()
    return [_result(training, replica, *both) for replica, both in enumerate(zip(logits.cpu(), shifted, strict=True))]


def _result(training: Training, replica: int, logits: Tensor, shifted: Tensor) -> dict[str, Any]:
    """Errors in percent, measures of the test logits, the weights and log radii of the last epoch, seconds."""
    curve, batches = training.curve[replica], training.batches
    labels, counts = batches.test_labels.cpu(), batches.class_counts
    weighting, weights = training.criteria[replica].weighting, training.weights[replica].double()
    line: dict[str, Any] = {
        "seed": training.seeds[replica],
        "last_error": curve[-1][1],
        "best_error": min(error for _, error in curve),
        **class_errors(shifted, labels, counts),
        "adjusted_errors": adjusted_errors(logits, labels, counts),
        **({} if training.method.base in SIGMOID_BASES else calibration(shifted, labels)),
        "curve": [[epoch, error] for epoch, error in curve],
        "weights": [float(f"{alpha:.6g}") for alpha in weights.tolist()],
        "class_counts": counts.tolist(),
        "expected_alpha": float((weights * weighting.draws.cpu()).sum() / weighting.draws.sum()),
        "log_radius": None,
        "seconds": round(training.seconds / len(training.seeds), 1),
        "together": len(training.seeds),
        "device": torch.cuda.get_device_name(batches.device) if batches.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "compile": training.schedule.compile,
        "torch": torch.__version__,
    }
    if isinstance(weighting, ClassVolume):
        line["log_radius"] = [round(float(radius), 5) for radius in weighting.log_radius]
        line["substituted"] = int(weighting.substituted.sum())
    return line


def class_errors(logits: Tensor, labels: Tensor, class_counts: Tensor) -> dict[str, Any]:
    """Error of each class, and the mean over the classes of each group, in percent."""
    found = 100 - class_accuracies(labels.numpy(), logits.argmax(dim=1).numpy(), len(class_counts))
    masks = group_masks(class_counts.numpy(), OTHERS)
    return {
        "group_errors": {name: round(float(found[own].mean()), 4) for name, own in masks.items() if own.any()},
        "class_errors": [round(float(error), 2) for error in found],
    }


def calibration(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Negative log-likelihood in nats, and expected calibration error in percent."""
    log_probabilities = functional.log_softmax(logits.double(), dim=1)
    confidence, predicted = log_probabilities.max(dim=1)
    bins = reliability(confidence.exp().numpy(), (predicted == labels).numpy())
    error = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins) / len(labels)
    return {"nll": round(float(functional.nll_loss(log_probabilities, labels)), 5), "ece": round(100 * error, 4)}


def adjusted_errors(logits: Tensor, labels: Tensor, class_counts: Tensor) -> list[list[float]]:
    """`[tau, error, error]` in percent for each of `TAUS`: of test images with an even index, and with an odd one.

    So tau can be chosen on one half, and the error taken from the other.
    """
    log_counts = class_counts.double().log()
    rows = []
    for tau in TAUS:
        wrong = ((logits.double() - tau * log_counts).argmax(dim=1) != labels).double().numpy() * 100
        rows.append([tau, *(round(float(np.mean(wrong[half::2])), 4) for half in (0, 1))])
    return rows


def append(path: Path, *lines: dict[str, Any]) -> None:
    """Appends runs to the file in one write, on a new line if the last line was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as file:
        file.write((b"\n" if torn else b"") + b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """The runs of a results file, without lines that a kill cut off; ResultsError for any other invalid line."""
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
    """Key of a run: images (by their digest, whatever their name), recipe, method and seed."""
    images = line.get(DATA) or (line["dataset"], line["imbalance"])
    return (images, *(line[key] for key in (*SETTING, "method", "seed")))


def once_each(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs without repetitions; the newest line of a repeated run replaces the first."""
    return list({identity(run): run for run in runs}.values())
