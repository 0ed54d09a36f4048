"""Where the tensors of a weighting live, and that they stay ordinary tensors under `torch.inference_mode`."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def float64_home(device: torch.device) -> torch.device:
    """`device`, or the CPU when it holds no float64 (Apple's MPS, some of Intel's GPUs)."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):  # TypeError on MPS, RuntimeError on XPU
        return torch.device("cpu")
    return device


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: what `function` makes or changes inside `torch.inference_mode` can be changed and trained with later.

    A tensor that is made in inference mode refuses both for as long as it lives.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        # `torch.compile` cannot trace the question.
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(mode=False), torch.no_grad():
            return function(*args, **kwargs)

    return wrapped
