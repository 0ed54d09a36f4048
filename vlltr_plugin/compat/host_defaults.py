"""The word "cuda" inside two of the host's own modules, on a machine without CUDA."""

from types import FunctionType, ModuleType
from typing import Any

from vlltr_plugin.compat.after_import import after_import
from vlltr_plugin.compat.there_is_cuda import there_is_cuda

__all__ = ["hook_host_modules", "say_cpu"]

# host module -> functions in which it says "cuda" whatever `--device` is
_PLACES = {
    "mixup": ("one_hot", "mixup_target"),
    "utils": ("SmoothedValue.synchronize_between_processes",),
}


def hook_host_modules() -> None:
    """Makes the host's `mixup` and `utils` build their tensors on the CPU, as soon as they are imported.

    `one_hot` and `mixup_target` default to the device "cuda", and `SmoothedValue.synchronize_between_processes`
    names it: "AssertionError: Torch not compiled with CUDA enabled". Nothing changes where there is CUDA, nor in
    modules of those names that do not define these functions.
    """
    if there_is_cuda():
        return
    for name in _PLACES:
        after_import(name, _say_cpu_in)


def say_cpu(function: FunctionType) -> None:
    """Replaces the string "cuda" by "cpu" in a function's default values and constants, in place.

    Args:
        function: A Python function; its other constants, and the functions it calls, stay as they are.
    """
    if function.__defaults__ is not None:
        function.__defaults__ = _cuda_to_cpu(function.__defaults__)
    function.__code__ = function.__code__.replace(co_consts=_cuda_to_cpu(function.__code__.co_consts))


def _cuda_to_cpu(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple("cpu" if isinstance(value, str) and value == "cuda" else value for value in values)


def _say_cpu_in(module: ModuleType) -> None:
    for place in _PLACES[module.__name__]:
        found: Any = module
        for part in place.split("."):
            found = getattr(found, part, None)
        if isinstance(found, FunctionType):
            say_cpu(found)
