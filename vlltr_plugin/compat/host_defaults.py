"""The word "cuda" inside two of the host's own modules, on a machine without CUDA."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any

import torch

__all__ = ["hook_host_modules", "say_cpu"]

# host module -> functions in which it says "cuda" whatever `--device` is
_PLACES = {
    "mixup": ("one_hot", "mixup_target"),
    "utils": ("SmoothedValue.synchronize_between_processes",),
}


def hook_host_modules() -> None:
    """Make the host's `mixup` and `utils` build their tensors on the CPU, as soon as they are imported.

    `one_hot` and `mixup_target` default to the device "cuda", and `SmoothedValue.synchronize_between_processes`
    names it: "AssertionError: Torch not compiled with CUDA enabled". Nothing changes where there is CUDA, nor in
    modules of those names that do not define these functions. Each import hook goes away once its module has come.
    """
    if torch.cuda.is_available():
        return
    for name, places in _PLACES.items():
        if name in sys.modules:
            _say_cpu_in(sys.modules[name], places)
        elif not any(isinstance(finder, _AfterImport) and finder.name == name for finder in sys.meta_path):
            sys.meta_path.insert(0, _AfterImport(name, places))


def say_cpu(function: FunctionType) -> None:
    """Replace the string "cuda" by "cpu" in a function's default values and constants, in place.

    Args:
        function: A Python function; its other constants, and the functions it calls, stay as they are.
    """
    if function.__defaults__ is not None:
        function.__defaults__ = _cuda_to_cpu(function.__defaults__)
    function.__code__ = function.__code__.replace(co_consts=_cuda_to_cpu(function.__code__.co_consts))


def _cuda_to_cpu(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple("cpu" if isinstance(value, str) and value == "cuda" else value for value in values)


def _say_cpu_in(module: ModuleType, places: Sequence[str]) -> None:
    for place in places:
        found: Any = module
        for part in place.split("."):
            found = getattr(found, part, None)
        if isinstance(found, FunctionType):
            say_cpu(found)


class _AfterImport(MetaPathFinder):
    """Finds one top-level module where Python would, and patches it right after it has run."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        self.name = name
        self.places = places

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
            _say_cpu_in(module, self.places)

        # On this one loader object only; a loader class of ours would lose what tracebacks and `inspect` ask loaders.
        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign]
        return spec
