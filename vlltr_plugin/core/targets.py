"""Class targets as masses: which hard labels a (mixed, smoothed) target is made of."""

import torch
from torch import Tensor

NEGLIGIBLE_MASS = 1e-3
"""Constituents lighter than this are rounding noise (float16 targets) and feed no statistics."""


def tolerance_of(dtype: torch.dtype) -> float:
    """How far masses may be off 1 by the rounding of targets of that dtype."""
    return max(2e-3, 8 * torch.finfo(dtype).eps)


def check_targets(logits: Tensor, targets: Tensor, num_classes: int) -> None:
    """Refuses shapes and dtypes that would broadcast or index silently; never waits for a GPU.

    Args:
        logits: floating point, `[B, C]`.
        targets: int64 `[B]` or floating point `[B, C]`.
        num_classes: C.

    Raises:
        ValueError: for wrong shapes, or (on the CPU) labels outside `0..C-1`.
        TypeError: for wrong dtypes.
    """
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise ValueError(
            f"Expected logits of shape [B, {num_classes}] (one column for each entry of class_counts) "
            f"but got {list(logits.shape)}."
        )
    if not logits.is_floating_point():
        raise TypeError(f"Expected floating point logits but got {logits.dtype}.")
    if targets.is_floating_point():
        if targets.shape != logits.shape:
            raise ValueError(
                f"Expected soft targets of the logits' shape {list(logits.shape)} but got {list(targets.shape)}."
            )
    elif targets.dtype != torch.int64:
        raise TypeError(
            f"Expected targets to be int64 [B] or floating point [B, C] but got {targets.dtype}: use targets.long()."
        )
    elif targets.shape != logits.shape[:1]:
        raise ValueError(f"Expected {logits.shape[0]} labels [B] but got shape {list(targets.shape)}.")
    elif targets.device.type == "cpu" and targets.numel():
        low, high = (int(label) for label in targets.aminmax())
        if low < 0 or high >= num_classes:
            raise ValueError(f"Expected labels in 0..{num_classes - 1} but got {low if low < 0 else high}.")


def check_smoothing(targets: Tensor, smoothing: float) -> None:
    """Compares the label smoothing that soft targets show with the one that was configured.

    Smoothing leaves at least eps/C in every column, whatever C; a mixture of at most two labels leaves eps/C in
    every other one, so for C >= 3 the row minimum shows eps. Reads the targets, so a GPU is waited for: call it
    once there, not in every step.

    Args:
        targets: floating point `[B, C]`.
        smoothing: the configured label smoothing eps in [0, 1).

    Raises:
        ValueError: when rows do not sum to 1, hold negative entries, or show another smoothing.
    """
    if len(targets) == 0:
        return
    tolerance = tolerance_of(targets.dtype)
    rows = targets.detach().float()
    worst = max(abs(float(extreme) - 1) for extreme in rows.sum(dim=1).aminmax())
    if not worst <= tolerance:
        raise ValueError(f"Expected soft targets whose rows sum to 1 but one is off by {worst:.3g}.")
    lowest = rows.amin(dim=1)
    if float(lowest.min()) < -tolerance:
        raise ValueError(f"Expected soft targets without negative entries but got {float(lowest.min()):.3g}.")
    num_classes = rows.shape[1]
    slack = max(tolerance, 1e-2 * smoothing)
    shown = float(lowest.min()) * num_classes
    if num_classes >= 3 and shown >= smoothing - slack:
        shown = float(lowest.median()) * num_classes
    if shown < smoothing - slack or (num_classes >= 3 and shown > smoothing + slack):
        raise ValueError(
            f"Expected soft targets smoothed by {smoothing:g} but they show {shown:.4g} (row minimum times C): "
            "give the label smoothing that the mixup function applies as `smoothing`. Targets of more than two "
            "labels are not supported."
        )


def constituent_masses(targets: Tensor, smoothing: float) -> Tensor:
    """Undoes label smoothing: m = (t - eps/C) / (1 - eps), the mass of each hard label in a soft target.

    Args:
        targets: floating point `[B, C]`: a mixture of hard labels, smoothed by eps.
        smoothing: eps in [0, 1).

    Returns:
        Masses, at least float32, `[B, C]`, none below 0; rows sum to 1 when those of `targets` do.
    """
    return _unsmoothed(targets, smoothing, targets.shape[1])


def constituents(targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The (at most) two hard labels of which each target is mixed, the heavier first.

    Args:
        targets: floating point `[B, C]`, as for `constituent_masses`.
        smoothing: eps in [0, 1).

    Returns:
        Labels, int64 `[B, K]`, and their masses `[B, K]`, K = min(2, C); masses below
        `NEGLIGIBLE_MASS` come back as 0.
    """
    num_classes = targets.shape[1]
    heaviest = targets.topk(min(2, num_classes), dim=1)
    masses = _unsmoothed(heaviest.values, smoothing, num_classes)
    return heaviest.indices, masses.masked_fill_(~(masses >= NEGLIGIBLE_MASS), 0.0)


def are_mixtures(masses: Tensor, dtype: torch.dtype) -> Tensor:
    """Whether the two constituents are all that a target holds, up to the rounding of its dtype.

    Args:
        masses: `[B, K]`, from `constituents`.
        dtype: of the targets.

    Returns:
        bool `[B]`.
    """
    return (masses.sum(dim=1) - 1).abs() <= tolerance_of(dtype) + NEGLIGIBLE_MASS


def _unsmoothed(targets: Tensor, smoothing: float, num_classes: int) -> Tensor:
    """Masses of some or all columns of the targets, in a new tensor."""
    wide = targets if targets.dtype == torch.float64 else targets.float()
    return (wide - smoothing / num_classes).div_(1.0 - smoothing).clamp_(min=0.0)
