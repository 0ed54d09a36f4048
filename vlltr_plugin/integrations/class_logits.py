"""Logits and labels of Hugging Face's models in the order of torch's losses: classes in dimension 1."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor


def class_logits(outputs: Any, labels: Any, num_classes: int, model: Any = None) -> tuple[Tensor, Tensor]:
    """Logits `[B, C]` or `[B, C, d1, ...]` and labels that fit them, from what `ReweightCallback.loss` gets.

    `[B, C, T]` is taken as well as `[B, T, C]`, unless T = C. Logits of images are interpolated to the size of the
    labels as the losses of transformers' segmentation models do: bilinear, with align_corners=False.
    """
    logits = _logits_of(outputs)
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"Expected labels in a tensor but got {type(labels).__name__}: the data's labels come under the name "
            "`labels`, one for each row of the logits."
        )
    # A tuple (return_dict=False) does not tell the kind of the model.
    kind = type(model if isinstance(outputs, tuple) else outputs).__name__
    if logits.ndim == 3 and ("CausalLM" in kind or "LMHeadModel" in kind):
        raise ValueError(
            "Expected one label for each row of the logits but this model predicts the next token, and its own loss "
            "shifts the labels: give compute_loss_func a function that returns reweight.loss({'logits': "
            "outputs.logits[:, :-1]}, labels[:, 1:], num_items_in_batch)."
        )
    if _classes_last(logits, labels, num_classes):
        return logits.movedim(-1, 1), labels.movedim(-1, 1) if labels.is_floating_point() else labels
    if logits.ndim == 4 and labels.ndim == 3 and logits.shape[2:] != labels.shape[1:]:
        return F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False), labels
    return logits, labels


def _logits_of(outputs: Any) -> Tensor:
    logits = getattr(outputs, "logits", None)
    if logits is None:
        logits = outputs.get("logits") if isinstance(outputs, dict) else outputs
    if isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        named = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, dict) else ""
        raise TypeError(
            f"Expected the model's outputs to have `logits`, one column for each class, but got "
            f"{type(outputs).__name__}{named}: give reweight.loss({{'logits': ...}}, labels, num_items_in_batch) those "
            "that the labels are for."
        )
    return logits


def _classes_last(logits: Tensor, labels: Tensor, num_classes: int) -> bool:
    """Whether the last dimension is that of the classes: of tokens it is, unless the shapes say otherwise."""
    if logits.ndim < 3 or logits.shape[-1] != num_classes:
        return False
    if logits.ndim == 3 or logits.shape[1] != num_classes:
        return True
    return labels.shape == logits.shape[:-1] and labels.shape != logits.shape[:1] + logits.shape[2:]
