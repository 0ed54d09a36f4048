"""Accuracies over images, classes and groups of classes, and how well confidence matches accuracy (calibration)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention
from vlltr_plugin.report.pictures import require

BINS = 15
BELOW_1 = 1 - 1e-9  # torchmetrics would put a confidence of exactly 1 into a separate bin
UPSTREAM_SHOTS = {"10-shot": 10, "5-shot": 5}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def require_for_evaluation() -> None:
    """Imports the libraries that an evaluation needs; one `MissingExtraError` names all that are missing."""
    import vlltr_plugin.compat  # noqa: F401  (torchmetrics imports torchvision)

    require("matplotlib", "torchmetrics")


def accuracies(
    labels: Ints, predicted: Ints, confidence: Floats, groups: dict[str, Mask], num_classes: int
) -> dict[str, Any]:
    """Accuracies in percent: overall, of each group `[C]`, macro and harmonic mean over classes, and the ECE.

    A group without images is None. `ece` needs torchmetrics.
    """
    hits = predicted == labels
    of_class = class_accuracies(labels, predicted, num_classes)
    tested = of_class[~np.isnan(of_class)]
    return {
        "top1": 100.0 * float(hits.mean()),
        **{name: group_accuracy(hits, members[labels]) for name, members in groups.items()},
        "macro_top1": float(tested.mean()),
        "harmonic_top1": harmonic_mean(tested),
        "ece": 100.0 * expected_calibration_error(confidence, hits),
    }


def group_accuracy(hits: Mask, inside: Mask) -> float | None:
    """Percentage of hits among the images in a group (`inside`, `[N]`); None without images."""
    return 100.0 * float(hits[inside].mean()) if inside.any() else None


def group_accuracies(
    labels: Ints, predicted: Ints, groups: dict[str, Mask], num_classes: int
) -> dict[str, dict[str, float | None]]:
    """Of each group `[C]` the accuracy over its images (`micro`) and the mean over its classes (`macro`)."""
    hits, of_class, found = predicted == labels, class_accuracies(labels, predicted, num_classes), {}
    for name, members in groups.items():
        micro = group_accuracy(hits, members[labels])
        found[name] = {"micro": micro, "macro": None if micro is None else float(np.nanmean(of_class[members]))}
    return found


def class_accuracies(labels: Ints, predicted: Ints, num_classes: int) -> Floats:
    """Accuracy of each class in percent, `[C]`; NaN for classes without images."""
    images = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    accuracy: Floats = np.full(num_classes, np.nan)
    np.divide(100.0 * hits, images, out=accuracy, where=images > 0)
    return accuracy


def harmonic_mean(accuracies: Floats) -> float:
    """Harmonic mean of the classes' accuracies; 0 if one of them is 0."""
    return float(len(accuracies) / (1 / accuracies).sum()) if accuracies.min() > 0 else 0.0


def group_masks(train_counts: Ints, convention: Convention, shots: bool = False) -> dict[str, Mask]:
    """Masks `[C]` of each group; `shots` adds 10-shot and 5-shot. A class without training images is in no group."""
    group = convention.group(train_counts)
    masks = {name: group == name for name in GROUPS}
    if shots and convention is UPSTREAM:
        masks |= {name: (train_counts > 0) & (train_counts <= most) for name, most in UPSTREAM_SHOTS.items()}
    return masks


def expected_calibration_error(confidence: Floats, hits: Mask, bins: int = BINS) -> float:
    """Mean over the images of |accuracy - confidence| of their bin (Guo et al., ICML 2017, Eq. 3)."""
    import torch  # here, so that `compare` needs no torch

    import vlltr_plugin.compat  # noqa: F401  (torchmetrics imports torchvision)

    require("torchmetrics")
    from torchmetrics.functional.classification import binary_calibration_error

    # Top-label calibration has two outcomes: the predicted class is right or wrong.
    inside, right = (torch.from_numpy(array) for array in (_inside(confidence), hits.astype(np.int64)))
    return float(binary_calibration_error(inside, right, n_bins=bins, norm="l1"))


def _inside(confidence: Floats) -> Floats:
    return np.clip(np.nan_to_num(confidence, nan=0.0), 0.0, BELOW_1)


def reliability(confidence: Floats, hits: Mask, bins: int = BINS) -> list[dict[str, float]]:
    """The nonempty bins of the calibration error."""
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


def overall_rule(rules: dict[str, Any]) -> str:
    """The prediction rule of the host's overall accuracy: the mixture, or the only one."""
    return "mixture" if "mixture" in rules else "single"


def shots_rule(rules: dict[str, Any]) -> str:
    """The prediction rule of the host's groups: the sum of logits, or the only one."""
    return "sum" if "sum" in rules else "single"
