"""What is measured at the end of a run: errors of classes and groups, calibration, and logit adjustment after it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlltr_plugin.core.logit_adjustment import log_prior
from vlltr_plugin.core.shot_groups import GROUPS, OTHERS
from vlltr_plugin.report.accuracy import harmonic_mean, reliability

TAUS = tuple(step / 4 for step in range(13))


def measures(logits: Tensor, labels: Tensor, class_counts: Tensor) -> dict[str, Any]:
    """Of logits `[M, C]`: errors and accuracies in percent, the calibration error too; NLL in nats.

    `worst_class` and `harmonic_mean` are accuracies, of the classes; the probabilities are the softmax of the logits.
    """
    logits, labels = logits.cpu(), labels.cpu()
    log_probabilities = logits.double().log_softmax(dim=1)
    predicted = logits.argmax(dim=1)
    nll = float(-log_probabilities.gather(1, labels[:, None]).mean())
    confidence = log_probabilities.gather(1, predicted[:, None])[:, 0].exp().numpy()
    accuracies = 100 - _class_errors(predicted, labels)
    return {
        **errors(predicted, labels, class_counts),
        "class_errors": [round(float(100 - accuracy), 2) for accuracy in accuracies],
        "worst_class": round(float(accuracies.min()), 4),
        "harmonic_mean": round(harmonic_mean(accuracies), 4),
        "ece": round(100 * _calibration_error(confidence, (predicted == labels).numpy()), 4),
        "nll": round(nll, 6) if math.isfinite(nll) else None,  # a training that diverged
    }


def errors(predicted: Tensor, labels: Tensor, class_counts: Tensor) -> dict[str, Any]:
    """Mean error of the classes of each group, in percent."""
    of_class, groups = _class_errors(predicted, labels), OTHERS.group(class_counts.numpy())
    return {
        "group_errors": {
            group: round(float(of_class[groups == group].mean()), 4) for group in GROUPS if (groups == group).any()
        }
    }


def adjusted(
    test: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor] | None, class_counts: Tensor, draws: Tensor
) -> list[dict[str, Any]]:
    """Errors of logits - tau log draws at each of `TAUS`; logits `[M, C]` and labels `[M]` of either set of images.

    `validation_error` is the mean over the classes, which are as unequal there as in training.
    """
    prior, rows = log_prior(draws).float(), []

    def predictions(logits: Tensor, tau: float) -> Tensor:
        return (logits.cpu() - tau * prior).argmax(dim=1)

    for tau in TAUS:
        predicted, labels = predictions(test[0], tau), test[1].cpu()
        error = round(float((predicted != labels).double().mean()) * 100, 4)
        rows.append({"tau": tau, "error": error, **errors(predicted, labels, class_counts)})
        if validation is not None:
            of_class = _class_errors(predictions(validation[0], tau), validation[1].cpu())
            rows[-1]["validation_error"] = round(float(of_class.mean()), 4)
    return rows


def _class_errors(predicted: Tensor, labels: Tensor) -> NDArray[np.float64]:
    right = torch.bincount(labels, weights=(predicted == labels).double())
    found: NDArray[np.float64] = 100 * (1 - (right / torch.bincount(labels)).numpy())
    return found


def _calibration_error(confidence: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Mean over the images of |accuracy - confidence| of their bin (Guo et al., ICML 2017, Eq. 3)."""
    bins = reliability(confidence, hits)
    return sum(one["images"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / len(hits)
