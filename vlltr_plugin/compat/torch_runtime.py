"""torch on a machine without CUDA: the host's CUDA-only calls."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from vlltr_plugin.compat.there_is_cuda import there_is_cuda

__all__ = ["run_without_cuda"]


def run_without_cuda() -> None:
    """Applies the shims below, unless there is CUDA (then nothing changes)."""
    if there_is_cuda():
        return
    ignore_device_synchronization()
    ignore_device_selection()
    use_gloo_for_nccl()
    drop_ddp_device_ids()


def ignore_device_synchronization() -> None:
    """Makes `torch.cuda.synchronize()` do nothing: without CUDA there is nothing to wait for.

    "AssertionError: Torch not compiled with CUDA enabled", at the end of each training step.
    """
    torch.cuda.synchronize = _synchronize


def ignore_device_selection() -> None:
    """Makes `torch.cuda.set_device(...)` do nothing.

    "AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'", when the host sets up its process group.
    """
    torch.cuda.set_device = _set_device


# Two functions, not one: `torch.compile` of older versions refuses a function that has two of torch's names.


def _synchronize(device: Any = None) -> None:
    """Stands for a call that needs CUDA where there is none."""


def _set_device(device: Any = None) -> None:
    """Stands for a call that needs CUDA where there is none."""


def use_gloo_for_nccl() -> None:
    """Starts the process group with gloo where the caller asks for NCCL.

    "RuntimeError: Distributed package doesn't have NCCL built in", or, where it has, "ProcessGroupNCCL is only
    supported with GPUs, no GPUs found!"; the host asks for NCCL whatever its `--device` is.
    """

    def with_gloo(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> None:
            original("gloo" if backend == "nccl" else backend, *args, **kwargs)

        return init_process_group

    if torch.distributed.is_available():
        _wrap_once(torch.distributed, "init_process_group", with_gloo)


def drop_ddp_device_ids() -> None:
    """Lets data parallel training of a model on the CPU name a GPU, as the host does.

    "ValueError: DistributedDataParallel device_ids and output_device arguments only work with
    single-device/multiple-device GPU modules or CPU modules, but got device_ids [0] ...".
    """

    def without_ids(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def init(self: Any, module: Any, device_ids: Any = None, *args: Any, **kwargs: Any) -> None:
            on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
            original(self, module, None if on_cpu else device_ids, *args, **kwargs)

        return init

    _wrap_once(DistributedDataParallel, "__init__", without_ids)


def _wrap_once(owner: Any, name: str, wrapper: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
    original = getattr(owner, name)
    if getattr(original, "wrapped_for_cpu", False):
        return
    wrapped = wrapper(original)
    wrapped.wrapped_for_cpu = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapped)
