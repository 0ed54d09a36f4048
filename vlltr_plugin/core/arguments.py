"""Checks of arguments, and helpers for error messages and warnings."""

import math
import sys
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Counts = Tensor | NDArray[Any] | Sequence[int] | Sequence[float]

# Smallest share of all draws that a class may have: below it, its weight would exceed float32's range.
SMALLEST_SHARE = 1e-12


def numbers_of_classes(name: str, values: Counts) -> Tensor:
    """A new float64 `[C]` on the CPU, whatever torch's default dtype and device."""
    vector = _vector(name, values)
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(f"Expected {name} to hold one number for each class but got shape {list(vector.shape)}.")
    if not bool(torch.isfinite(vector).all()) or bool((vector < 0).any()):
        raise ValueError(f"Expected {name} to be finite and not negative but got {shortened(vector.tolist())}.")
    return vector


def draws_in_an_epoch(draws: Counts, class_counts: Tensor) -> Tensor:
    """Expected draws of each class, float64 `[C]`, scaled to one epoch: as many as there are samples."""
    given = numbers_of_classes("draws", draws)
    if given.shape != class_counts.shape:
        raise ValueError(f"Expected draws for {len(class_counts)} classes but got {len(given)}.")
    # Scale by a power of two first, so that the sum stays in range; it is exact for all that is not refused below.
    near_1 = torch.from_numpy(np.ldexp(given.numpy(), -math.frexp(float(given.max()))[1]))
    total = float(near_1.sum())
    if bool(((given > 0) & (near_1 < SMALLEST_SHARE * total)).any()):
        least = float(given[given > 0].min())
        raise ValueError(f"Expected draws of 0 or at least {SMALLEST_SHARE:g} of all but got {least:g}.")
    return near_1 * (float(class_counts.sum()) / total) if total else near_1


def _vector(name: str, values: object) -> Tensor:
    """`values` as float64, if they are numbers."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "iuf":
            raise _no_counts(name, f"an array of {values.dtype}")
        return torch.from_numpy(values.astype(np.float64))
    if isinstance(values, Tensor):
        dense = values.layout == torch.strided
        if values.dtype == torch.bool or values.is_complex() or values.device.type == "meta" or not dense:
            raise _no_counts(name, f"a {'' if dense else 'sparse '}tensor of {values.dtype} on {values.device}")
        return values.detach().cpu().double().clone()
    if not isinstance(values, Sequence) or isinstance(values, str | bytes | bytearray | memoryview):
        raise _no_counts(name, f"{type(values).__name__} {shortened(values)}")
    numbers = [value.item() if _is_array(value) and value.ndim == 0 else value for value in values]
    nested = [value for value in numbers if _is_array(value) or isinstance(value, list | tuple)]
    if nested:
        raise ValueError(
            f"Expected {name} to hold one number for each class but got shape [{len(numbers)}, {len(nested[0])}]."
        )
    for number in numbers:
        if not isinstance(number, Real) or isinstance(number, bool):
            raise _no_counts(name, f"{type(number).__name__} {shortened(number)} in it")
    return torch.tensor([_as_float(number) for number in numbers], dtype=torch.float64, device="cpu")


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _no_counts(name: str, got: str) -> ValueError:
    return ValueError(
        f"Expected {name} to be a tensor, a numpy array or a sequence (list, tuple) of one number for each class, in "
        f"the order of the labels, but got {got}: for a dict or Counter, pass [{name}[k] for k in range(C)]."
    )


def check_choice(name: str, value: object, options: Sequence[object]) -> None:
    """Raises ValueError, which lists the options, if `value` is not one of them."""
    if value not in options:
        raise ValueError(f"Expected {name} to be one of {', '.join(map(repr, options))} but got {value!r}.")


def check_whole(name: str, value: object, least: int) -> None:
    """Raises ValueError if `value` is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"Expected {name} to be a whole number, {least} or more, but got {value!r}.")


def check_number(name: str, value: object) -> None:
    """Raises ValueError if `value` is not a real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"Expected {name} to be a number but got {shortened(value)}.")


def listed(numbers: list[int]) -> str:
    """The first few of a list of class indices, for a message."""
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")


def shortened(value: object) -> str:
    """The beginning of a value's repr, for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def warn_caller(message: str) -> None:
    """Issues a warning that points to the first caller outside this package and torch."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("vlltr_plugin", "torch"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
