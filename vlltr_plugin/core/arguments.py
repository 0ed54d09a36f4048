"""Checks of what users hand over, and how messages show it."""

from collections.abc import Sequence

import torch
from torch import Tensor

Counts = Tensor | Sequence[int] | Sequence[float]


def numbers_of_classes(name: str, values: Counts) -> Tensor:
    """A new float64 `[C]`; raises ValueError when `values` is none, or holds what no count can be."""
    vector = torch.as_tensor(values).detach().clone().double()
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(f"Expected {name} to hold one number for each class but got shape {list(vector.shape)}.")
    if not bool(torch.isfinite(vector).all()) or bool((vector < 0).any()):
        raise ValueError(f"Expected {name} to be finite and not negative but got {shortened(vector.tolist())}.")
    return vector


def check_choice(name: str, value: object, options: Sequence[object]) -> None:
    """Raises ValueError, naming the options, when `value` is none of them."""
    if value not in options:
        raise ValueError(f"Expected {name} to be one of {', '.join(map(repr, options))} but got {value!r}.")


def check_whole(name: str, value: object, least: int) -> None:
    """Raises ValueError when `value` is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"Expected {name} to be a whole number, {least} or more, but got {value!r}.")


def listed(numbers: list[int]) -> str:
    """The first few of many class indices, for a message."""
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")


def shortened(value: object) -> str:
    """The start of a long representation, for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
