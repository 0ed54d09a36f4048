"""Which tensor of a model's output is the logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def logits_of(output: Any, num_classes: int) -> Tensor:
    """The logits in what a model returns.

    Raises:
        ValueError: when it holds none, or several that are not the same tensor.
    """
    found = {id(tensor): tensor for tensor in _tensors(output) if _may_be_logits(tensor, num_classes)}
    if len(found) != 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in _tensors(output)) or "no tensor"
        raise ValueError(
            f"Expected the model to return one tensor of logits [B, {num_classes}] but got {len(found)} in a "
            f"{type(output).__name__} of {shapes}: which of them the radii are of cannot be known. Let it return the "
            "logits alone, or take a reweight.type that reads none (inverse, effective_number)."
        )
    return next(iter(found.values()))


def _may_be_logits(tensor: Tensor, num_classes: int) -> bool:
    return tensor.ndim == 2 and tensor.shape[1] == num_classes and torch.is_floating_point(tensor)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from (tensor for part in output.values() for tensor in _tensors(part))
    elif isinstance(output, tuple | list):
        yield from (tensor for part in output for tensor in _tensors(part))
