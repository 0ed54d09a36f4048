"""Soft targets: the masses of the hard labels in a mixed and smoothed target."""

import torch
from torch import Tensor

NEGLIGIBLE_MASS = 1e-3
"""Lighter constituents are rounding noise (float16 targets) and do not count in the statistics."""

MANY_COLUMNS, BLOCK = 1000, 64
"""Rows of at least that length are searched for their two largest entries in blocks."""

ROUNDINGS = 4
"""Of a target: smoothed, scaled twice and added by mixup."""

MULTI_LABEL = (
    "Multi-label targets (several labels of one sample, each a 1) are not supported: a sample is weighted by its "
    "class. Give one label for each sample, or a mixture of labels whose masses sum to 1."
)


def tolerance_of(dtype: torch.dtype) -> float:
    """How far masses may be off 1 by the rounding of targets of that dtype."""
    return max(2e-3, 8 * torch.finfo(dtype).eps)


def check_smoothing(targets: Tensor, smoothing: float) -> None:
    """Compares the label smoothing that soft targets show with the one that was configured.

    Smoothing leaves at least eps/C in every column, whatever C; a mixture of at most two labels leaves eps/C in
    every other one, so for C >= 3 the row minimum shows eps. Reads the targets, which waits for a GPU.

    Raises:
        ValueError: if rows do not sum to 1, hold negative entries, or show another smoothing.
    """
    if len(targets) == 0:
        return
    tolerance = tolerance_of(targets.dtype)
    rows = targets.detach().float()
    worst = max(abs(float(extreme) - 1) for extreme in rows.sum(dim=1).aminmax())
    if not worst <= tolerance:
        raise ValueError(
            f"Expected soft targets whose rows sum to 1 but one is off by {worst:.3g}.{_advice_for_sums(rows)}"
        )
    minima = rows.amin(dim=1)
    lowest, num_classes = float(minima.min()), rows.shape[1]
    if lowest < -tolerance:
        raise ValueError(f"Expected soft targets without negative entries but got {lowest:.3g}.")
    slack = max(tolerance, 1e-2 * smoothing)
    shown = lowest * num_classes
    if num_classes >= 3 and shown >= smoothing - slack:
        shown = float(minima.median()) * num_classes
    if shown < smoothing - slack or (num_classes >= 3 and shown > smoothing + slack):
        raise ValueError(
            f"Expected soft targets smoothed by {smoothing:g} but they show {shown:.4g} (row minimum times C): "
            "give the label smoothing that the mixup function applies as `smoothing`. Targets that give every label a "
            "mass of its own are not supported: they cannot be told from smoothed ones."
        )


def _advice_for_sums(rows: Tensor) -> str:
    """Advice for soft targets whose rows do not all sum to 1."""
    empty = (rows == 0).all(dim=1)
    if bool(empty.any()) and not bool(empty.all()) and bool((rows.sum(dim=1)[~empty] - 1).abs().max() < 0.1):
        return (
            f" {int(empty.sum())} rows are all 0: leave samples without a label out (kept = targets.sum(1) > 0, "
            "logits[kept], targets[kept]), or give labels, int64 [B], with an ignore_index."
        )
    return f" {MULTI_LABEL}" if bool(((rows == 0) | (rows == 1)).all()) else ""


def unsmoothed(targets: Tensor, smoothing: float) -> Tensor:
    """T - eps/C: the mass of each hard label times 1 - eps, new, at least float32, none below 0.

    In labels that a target does not hold, rounding (mixing twice, in float32 at best) leaves a rest that is set to 0.
    """
    values = targets if targets.dtype == torch.float64 else targets.float()
    uniform = smoothing / targets.shape[1]
    if not smoothing:
        return torch.threshold(values, 0.0, 0.0)
    kind = torch.finfo(targets.dtype)
    noise = ROUNDINGS * (max(kind.eps, torch.finfo(torch.float32).eps) * uniform + kind.smallest_normal * kind.eps)
    return torch.threshold_(values - uniform, noise * (1.0 - smoothing), 0.0)


def two_largest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The two largest entries of each row and their places, `[B, min(2, C)]`; 4 times faster than `topk` for C = 8142.

    They lie in the two blocks with the largest maxima (or behind the last whole block).
    """
    columns = values.shape[1]
    if columns < MANY_COLUMNS:
        largest = values.topk(min(2, columns), dim=1)
        return largest.values, largest.indices
    whole = columns // BLOCK * BLOCK
    blocks = values[:, :whole].unflatten(1, (-1, BLOCK)).amax(dim=2).topk(2, dim=1).indices * BLOCK
    within = torch.arange(BLOCK, device=values.device)
    rest = torch.arange(whole, columns, device=values.device).expand(len(values), -1)
    candidates = torch.cat([(blocks[:, :, None] + within).flatten(1), rest], dim=1)
    largest = values.gather(1, candidates).topk(2, dim=1)
    return largest.values, candidates.gather(1, largest.indices)
