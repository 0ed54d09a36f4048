"""What a trained network's test logits say beside its error: calibration, and the error after logit adjustment."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from vlltr_plugin.report.accuracy import reliability

TAUS = tuple(step / 4 for step in range(13))
"""Strengths of post-hoc logit adjustment (Menon et al., ICLR 2021, Eq. 9) whose errors are stored."""


def calibration(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Negative log-likelihood in nats, and expected calibration error in percent, of logits `[M, C]`."""
    log_probabilities = functional.log_softmax(logits.double(), dim=1)
    confidence, predicted = log_probabilities.max(dim=1)
    bins = reliability(confidence.exp().numpy(), (predicted == labels).numpy())
    error = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins) / len(labels)
    return {
        "nll": round(float(functional.nll_loss(log_probabilities, labels)), 5),
        "ece": round(100 * error, 4),
    }


def adjusted_errors(logits: Tensor, labels: Tensor, class_counts: Tensor) -> list[list[float]]:
    """`[tau, error, error]` in percent for each of `TAUS`: of test images with an even index, and with an odd one.

    So tau can be chosen on one half, and the error be read on the other.
    """
    log_counts = class_counts.double().log()
    rows = []
    for tau in TAUS:
        wrong = ((logits.double() - tau * log_counts).argmax(dim=1) != labels).double().numpy() * 100
        rows.append([tau, *(round(float(np.mean(wrong[half::2])), 4) for half in (0, 1))])
    return rows


def measures(logits: Tensor, labels: Tensor, class_counts: Tensor, adjust: float, softmax: bool) -> dict[str, Any]:
    """All of them for a line of results; `calibration` is that of the logits that the test error is of."""
    found: dict[str, Any] = {"adjusted_errors": adjusted_errors(logits, labels, class_counts)}
    if softmax:
        found |= calibration(logits - adjust * class_counts.double().log(), labels)
    return found
