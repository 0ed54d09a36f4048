"""The forward pass of train.py's loops, for `check` and `evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor


def autocast(args: argparse.Namespace) -> torch.autocast:
    """The context of `--amp`, in which train.py calls its model and loss."""
    dtype = getattr(torch, getattr(args, "amp_dtype", "float16"))
    return torch.autocast(torch.device(args.device).type, dtype, enabled=args.amp)


def logits_of(args: argparse.Namespace, model: Any, images: Tensor) -> Tensor:
    """The logits of a batch; without timm's prefetcher its images lack the model's device and dtype."""
    dtype = getattr(torch, getattr(args, "model_dtype", None) or "float32")
    output = model(images.to(args.device, dtype))
    logits: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return logits
