"""Detects what torch is doing during a call (training, recomputing, compiling, inference mode), and on which device."""

import functools
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd.function import BackwardCFunction

P = ParamSpec("P")
R = TypeVar("R")


def observing(module: nn.Module) -> bool:
    """True if a call of the module belongs to a training step: train mode, gradients, no recomputation."""
    # Never inside `torch.func.grad`, `vmap` and the like, which do not allow changes of tensors outside.
    return module.training and torch.is_grad_enabled() and not _transforms() and not recomputing()


def recomputing() -> bool:
    """True if activation checkpointing repeats a pass that ran with gradients before; False under `torch.compile`.

    Non-reentrant checkpointing (`use_reentrant=False`) runs a pass again where backward unpacks a tensor that was not
    kept. Reentrant checkpointing does so in the backward of an autograd function, whose forward ran without gradients:
    there the second pass belongs to the training step. The call stack tells which of them it is.
    """
    backward_of = getattr(torch._C, "_current_graph_task_id", None)  # -1 outside of backward
    if torch.compiler.is_compiling() or backward_of is None or backward_of() == -1:
        return False
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if isinstance(frame.f_locals.get("self"), BackwardCFunction):
            return False
        if frame.f_code.co_name == "unpack_hook" and frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            return True
    return True


def cheap_to_read(tensor: Tensor) -> bool:
    """True if reading values costs nothing; False on a GPU, which would have to finish, and under compile or vmap."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not in_vmap()


def in_vmap() -> bool:
    """True inside `torch.func.vmap`, alone or combined with other transforms of `torch.func`."""
    transforms = _transforms()
    return bool(transforms) and any(transform.key() == TransformType.Vmap for transform in transforms)


def _transforms() -> list[Any]:
    """The active transforms of `torch.func`, the outermost first; `torch.compile` cannot trace this."""
    return [] if torch.compiler.is_compiling() else get_interpreter_stack() or []


def float64_device(device: torch.device) -> torch.device:
    """`device`, or the CPU when it holds no float64 (Apple's MPS, some of Intel's GPUs)."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):  # TypeError on MPS, RuntimeError on XPU
        return torch.device("cpu")
    return device


def unshare(values: MutableMapping[str, Any]) -> None:
    """Copies tensors that `torch.multiprocessing` has put in shared memory, so that processes do not add to one sum."""
    for name, value in values.items():
        if isinstance(value, Tensor) and value.is_shared():
            values[name] = value.clone()


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: runs `function` outside of `torch.inference_mode`, whose tensors could not be changed later."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        # `torch.compile` cannot trace the condition.
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(mode=False), torch.no_grad():
            return function(*args, **kwargs)

    return wrapped
