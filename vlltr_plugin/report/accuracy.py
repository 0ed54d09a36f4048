"""Accuracies of classes and of groups of classes, and how well confidence matches accuracy (calibration)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention
from vlltr_plugin.report.pictures import require

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

UPSTREAM_SHOTS = {"10-shot": 10, "5-shot": 5}

BINS = 15
BELOW_1 = 1 - 1e-9  # torchmetrics would give a confidence of exactly 1 a bin of its own


def require_torchmetrics() -> Any:
    """Imports `torchmetrics.functional.classification`, or raises `MissingExtraError` naming the extra."""
    import vlltr_plugin.compat  # noqa: F401  (torchmetrics imports torchvision)

    require("torchmetrics")
    return require("torchmetrics.functional.classification")[0]


def require_for_evaluation() -> None:
    """Imports all that an evaluation needs of the extra, or raises one `MissingExtraError` for all that is missing."""
    import vlltr_plugin.compat  # noqa: F401

    require("matplotlib", "torchmetrics")


def expected_calibration_error(confidence: NDArray[np.float64], hits: NDArray[np.bool_], bins: int = BINS) -> float:
    """Mean over the images of |accuracy - confidence| of their bin (Guo et al., ICML 2017, Eq. 3).

    Raises:
        MissingExtraError: torchmetrics is not installed.
    """
    import torch  # here, so that `compare` needs no torch

    metrics = require_torchmetrics()
    # Of the predicted class alone, top-label calibration is a matter of two outcomes: right or wrong.
    error = metrics.binary_calibration_error(
        torch.from_numpy(_inside(confidence)), torch.from_numpy(hits.astype(np.int64)), n_bins=bins, norm="l1"
    )
    return float(error)


def reliability(confidence: NDArray[np.float64], hits: NDArray[np.bool_], bins: int = BINS) -> list[dict[str, float]]:
    """The bins behind it, empty ones left out."""
    inside = _inside(confidence)
    edges = np.linspace(0, 1, bins + 1)
    number = np.searchsorted(edges, inside, side="right") - 1
    return [
        {
            "from": float(edges[index]),
            "to": float(edges[index + 1]),
            "images": int((number == index).sum()),
            "confidence": float(inside[number == index].mean()),
            "accuracy": float(hits[number == index].mean()),
        }
        for index in np.unique(number).tolist()
    ]


def _inside(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.clip(np.nan_to_num(confidence, nan=0.0), 0.0, BELOW_1)
    return clipped


def group_masks(train_counts: Ints, convention: Convention) -> dict[str, Mask]:
    """The classes of each group, `[C]`; those without training images are in none."""
    group = convention.group(train_counts)
    masks = {name: (group == name) & (train_counts > 0) for name in GROUPS}
    if convention is UPSTREAM:
        masks |= {name: (train_counts > 0) & (train_counts <= most) for name, most in UPSTREAM_SHOTS.items()}
    return masks


def class_accuracies(labels: Ints, predicted: Ints, num_classes: int) -> NDArray[np.float64]:
    """Accuracy of each class in percent, `[C]`; NaN for classes without images."""
    images = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    accuracy: NDArray[np.float64] = np.full(num_classes, np.nan)
    np.divide(100.0 * hits, images, out=accuracy, where=images > 0)
    return accuracy


def harmonic_mean(accuracies: NDArray[np.float64]) -> float:
    """Of accuracies of classes; 0 as soon as one is."""
    return float(len(accuracies) / (1 / accuracies).sum()) if accuracies.min() > 0 else 0.0


def overall_rule(rules: dict[str, Any]) -> str:
    """The rule of the host's own overall accuracy: the mixture, or the only one."""
    return "mixture" if "mixture" in rules else "single"


def shots_rule(rules: dict[str, Any]) -> str:
    """The rule of the host's own groups: the sum of logits, or the only one."""
    return "sum" if "sum" in rules else "single"
