"""Changes to VL-LTR's own modules `mixup` and `utils`, made right after each has been imported."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch

from vlltr_plugin.compat.runtime import cuda_available, wrap_once
from vlltr_plugin.runs.files import whole_file

Patch = Callable[[ModuleType], None]
UNFINISHED = ".vlltr-unfinished"

_NAMES_CUDA = {  # host module -> functions that use "cuda" regardless of `--device`
    "mixup": ("one_hot", "mixup_target"),
    "utils": ("SmoothedValue.synchronize_between_processes",),
}


def default_to_cpu() -> None:
    """Makes the host's `mixup` and `utils` create their tensors on the CPU if there is no CUDA.

    "AssertionError: Torch not compiled with CUDA enabled": the functions in `_NAMES_CUDA` name the device themselves.
    """
    if not cuda_available():
        for name in _NAMES_CUDA:
            after_import(name, _default_to_cpu_in)


def _default_to_cpu_in(module: ModuleType) -> None:
    """Replaces the string "cuda" by "cpu" in the functions' default values and constants, in place."""
    for place in _NAMES_CUDA[module.__name__]:
        found: Any = module
        for part in place.split("."):
            found = getattr(found, part, None)
        if isinstance(found, FunctionType):
            found.__defaults__ = found.__defaults__ and _cuda_to_cpu(found.__defaults__)
            found.__code__ = found.__code__.replace(co_consts=_cuda_to_cpu(found.__code__.co_consts))


def _cuda_to_cpu(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple("cpu" if isinstance(value, str) and value == "cuda" else value for value in values)


def save_checkpoints_whole() -> None:
    """Makes the host's `utils.save_on_master` replace a checkpoint in one step.

    The host overwrites `checkpoint.pth` in place. If the run is killed meanwhile, or the disk is full, the old one is
    lost and the new one is incomplete: "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding
    central directory". The same bytes are now first written to a file beside it, so the disk has to hold both briefly.
    """
    after_import("utils", _save_whole_in)


def _save_whole_in(module: ModuleType) -> None:
    if isinstance(getattr(module, "save_on_master", None), FunctionType):
        wrap_once(module, "save_on_master", _save_whole_on_master)


def _save_whole_on_master(save_on_master: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    torch_save = torch.save
    torch.save = functools.partial(_save_whole, torch_save)
    try:
        return save_on_master(*args, **kwargs)
    finally:
        torch.save = torch_save


def _save_whole(torch_save: Callable[..., None], obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
    """`torch.save` through a temporary file; anything but a path goes to torch unchanged."""
    path = Path(os.path.realpath(f)) if isinstance(f, str | os.PathLike) else None  # a link stays a link
    if path is None or (path.exists() and not path.is_file()):
        torch_save(obj, f, *args, **kwargs)
        return
    for leftover in path.parent.glob(f"*{UNFINISHED}"):  # left by a killed run
        with contextlib.suppress(OSError):
            leftover.unlink()
    # torch writes the name up to its last dot into the file: the same here, so the file has the same bytes.
    with whole_file(path, path.with_suffix(UNFINISHED)) as unfinished:
        torch_save(obj, unfinished, *args, **kwargs)


def after_import(name: str, patch: Patch) -> None:
    """Calls `patch` on a top-level module right after its import, or now if it was imported before."""
    if name in sys.modules:
        patch(sys.modules[name])
        return
    finder = next((found for found in sys.meta_path if isinstance(found, _AfterImport) and found.name == name), None)
    if finder is None:
        finder = _AfterImport(name)
        sys.meta_path.insert(0, finder)
    if patch not in finder.patches:
        finder.patches.append(patch)


class _AfterImport(MetaPathFinder):
    """Import hook: finds one top-level module as Python would, and patches it right after its import."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.patches: list[Patch] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        run = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            run(module)
            for patch in self.patches:
                patch(module)

        # Changes this loader object only; a loader class of ours would lose what tracebacks and `inspect` need.
        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign]
        return spec
