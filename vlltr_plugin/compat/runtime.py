"""Makes current torch, torchvision and numpy, with or without CUDA, behave as VL-LTR expects."""

import argparse
import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

_NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
_OPS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# A torch Library removes its declarations when it is garbage-collected, so this reference keeps it alive.
_kept_alive: list[torch.library.Library] = []


def cuda_available() -> bool:
    """True if CUDA is available; does not initialise the driver where NVML can tell.

    The driver reads `CUDA_VISIBLE_DEVICES` once, when it is initialised: a host that sets it later would run on
    another GPU, and a host that forks later could not use any.
    """
    given = os.environ.get(_NVML_CHECK)
    os.environ[_NVML_CHECK] = "1"
    try:
        return torch.cuda.is_available()
    finally:
        if given is None:
            del os.environ[_NVML_CHECK]
        else:
            os.environ[_NVML_CHECK] = given


def supply_numpy_bool() -> None:
    """Gives numpy 1.24 to 1.26 the name `np.bool`, as numpy 2 has it.

    "AttributeError: module 'numpy' has no attribute 'bool'", in the host's mixup with modes "elem" and "pair".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy < 1.24 warns when asked for the name
        present = hasattr(np, "bool")
    if not present:
        vars(np)["bool"] = np.bool_


def declare_missing_ops() -> None:
    """Makes `import torchvision` work where its compiled operators do not load (CPU torch with the CUDA wheel).

    "RuntimeError: operator torchvision::nms does not exist". Declaring the schemas of the two operators is enough for
    the import; a call of them still fails. Call this before importing timm, open_clip or torchvision.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason.
    """
    try:
        importlib.import_module("torchvision")
        return
    except ModuleNotFoundError:
        return  # not installed: the code that needs it will report that
    except RuntimeError as error:
        if not any(f"torchvision::{name}" in str(error) for name in _OPS):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:  # partially imported
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    _kept_alive.append(library)
    for name in _OPS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    importlib.import_module("torchvision")


def trust_argparse_namespace() -> None:
    """Allows `argparse.Namespace` in checkpoints while torch's safe loading stays on.

    "Weights only load failed ... Unsupported global: GLOBAL argparse.Namespace was not an allowed global by default"
    (torch >= 2.6): the host saves its arguments in every checkpoint. A Namespace holds attributes and runs no code.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])


def load_safely_by_default() -> None:
    """Makes `torch.load` of torch 2.4 and 2.5 safe by default, as it is since 2.6.

    The host resumes with `torch.load(path)`, which would run code from a hostile checkpoint there. Callers that give
    `weights_only` or a pickle module get what they ask for.
    """
    if torch.__version__ < "2.6":
        wrap_once(torch, "load", _load_safely)


def _load_safely(
    load: Callable[..., Any], f: Any, map_location: Any = None, pickle_module: Any = None, **kwargs: Any
) -> Any:
    if pickle_module is None and kwargs.get("weights_only") is None:
        kwargs["weights_only"] = True
    return load(f, map_location, pickle_module, **kwargs)


def accept_dashed_local_rank() -> None:
    """Replaces `--local-rank` by `--local_rank`, which the host's parser knows.

    "error: unrecognized arguments: --local-rank=0": `torch.distributed.launch`, which the host's script uses, passes a
    dash since torch 2.0. A script that contains `--local-rank` itself is left alone.
    """
    dashed = [i for i, arg in enumerate(sys.argv) if i and (arg == "--local-rank" or arg.startswith("--local-rank="))]
    script = ""
    with contextlib.suppress(OSError):
        script = Path(sys.argv[0]).read_text(encoding="utf-8", errors="replace") if dashed else ""
    for i in dashed if "--local-rank" not in script else ():
        sys.argv[i] = sys.argv[i].replace("--local-rank", "--local_rank", 1)


def run_without_cuda() -> None:
    """Replaces the host's CUDA-only calls if there is no CUDA.

    - `torch.cuda.synchronize()`, "AssertionError: Torch not compiled with CUDA enabled", at the end of each step;
    - `torch.cuda.set_device(...)`, "AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'";
    - the backend NCCL, "RuntimeError: Distributed package doesn't have NCCL built in" or "ProcessGroupNCCL is only
      supported with GPUs, no GPUs found!", which the host asks for whatever its `--device` is;
    - `device_ids` of a model on the CPU, "ValueError: DistributedDataParallel device_ids and output_device arguments
      only work with single-device/multiple-device GPU modules or CPU modules, but got device_ids [0] ...".
    """
    if cuda_available():
        return
    torch.cuda.synchronize = _synchronize
    torch.cuda.set_device = _set_device
    if torch.distributed.is_available():
        wrap_once(torch.distributed, "init_process_group", _init_with_gloo)
    wrap_once(DistributedDataParallel, "__init__", _init_without_device_ids)


# Two functions, not one: `torch.compile` of older versions refuses a function that has two of torch's names.
def _synchronize(device: Any = None) -> None: ...
def _set_device(device: Any = None) -> None: ...


def _init_with_gloo(init: Callable[..., None], backend: str | None = None, *args: Any, **kwargs: Any) -> None:
    init("gloo" if backend == "nccl" else backend, *args, **kwargs)


def _init_without_device_ids(
    init: Callable[..., None], self: Any, module: Any, device_ids: Any = None, *args: Any, **kwargs: Any
) -> None:
    on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    init(self, module, None if on_cpu else device_ids, *args, **kwargs)


def wrap_once(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replaces a function by `wrapper(function, *args, **kwargs)`, unless this was done before."""
    original = getattr(owner, name)
    if getattr(original, "wrapped_by_vlltr", False):
        return

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    wrapped.wrapped_by_vlltr = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapped)
