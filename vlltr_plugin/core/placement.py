"""Where the tensors of a weighting live, and that they stay ordinary tensors under `torch.inference_mode`."""

import functools
from collections.abc import Callable, MutableMapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def float64_home(device: torch.device) -> torch.device:
    """`device`, or the CPU when it holds no float64 (Apple's MPS, some of Intel's GPUs)."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):  # TypeError on MPS, RuntimeError on XPU
        return torch.device("cpu")
    return device


def unshare(values: MutableMapping[str, Any]) -> None:
    """Replaces tensors whose memory other processes may share by copies.

    `torch.multiprocessing` sends tensors as shared memory, so processes started by `spawn` would add to one sum.
    """
    for name, value in values.items():
        if isinstance(value, Tensor) and value.is_shared():
            values[name] = value.clone()


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
