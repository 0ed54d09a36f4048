"""VL-LTR's base criterion, proven equal to softmax cross entropy before it is weighted."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin.core.criterion import ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.hosts.vl_ltr.signatures import misfit
from vlltr_plugin.training.host_criterion import TOLERANCE


def smoothing_of(base: Callable[[Tensor, Tensor], Tensor], mixup: Any | None) -> float:
    """The label smoothing that the host trains with: the mixup function's, or the base criterion's own.

    Raises:
        ValueError: when the mixup function does not tell.
    """
    if mixup is None:
        return float(getattr(base, "smoothing", getattr(base, "label_smoothing", 0.0)))
    if not hasattr(mixup, "label_smoothing"):
        raise ValueError(f"Expected {type(mixup).__name__} to have the attribute `label_smoothing` but it has none.")
    return float(mixup.label_smoothing)


def check_base_criterion(
    base: Callable[[Tensor, Tensor], Tensor], num_classes: int, smoothing: float, soft: bool
) -> None:
    """Runs the base criterion on made-up logits and compares it with what will be weighted in its place.

    Raises:
        ValueError: when it takes other arguments, fails on such targets, or is not the mean softmax cross entropy.
    """
    name = type(base).__name__
    if other := misfit(base, "logits", "targets"):
        raise ValueError(
            f"Expected the base criterion to be called as base_criterion(logits, targets) but {name} is not: {other}. "
            "Take `reweight` out of the config, or make the base criterion plain softmax cross entropy."
        )
    labels = (7 * torch.arange(8)) % num_classes
    logits = 4.0 * torch.sin(torch.arange(8 * num_classes, dtype=torch.float32)).view(8, num_classes)
    targets: Tensor = labels
    if soft:
        hard = F.one_hot(labels, num_classes).float()
        targets = (1.0 - smoothing) * (0.7 * hard + 0.3 * hard.flip(0)) + smoothing / num_classes
    expected = float(ReweightedLoss(Uniform([1] * num_classes), smoothing=smoothing).losses(logits, targets).mean())
    kind = "mixed labels (mixup or cutmix is on)" if soft else "hard labels"
    try:
        found = float(base(logits, targets))
    except Exception as error:
        raise ValueError(
            f"Expected the base criterion to take {kind} but {name} fails on them ({error}): "
            "make mixup, cutmix, smoothing and loss_type agree."
        ) from error
    if not abs(found - expected) <= TOLERANCE * max(1.0, abs(expected)):
        raise ValueError(
            f"Expected the base criterion to be softmax cross entropy of {kind} with smoothing {smoothing:g}, averaged "
            f"over the batch, but {name} gives {found:.6g} where that gives {expected:.6g}: re-weighting would change "
            "more than the weights. With mixup or cutmix use soft-target cross entropy (loss_type='softCE' always "
            "gives it); without both, loss_type='smoothCE', or 'CE' with smoothing=0."
        )
