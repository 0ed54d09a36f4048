"""Class targets as masses: which hard labels a (mixed, smoothed) target is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.torch_context import cheap_to_read, in_vmap

NEGLIGIBLE_MASS = 1e-3
"""Constituents lighter than this are rounding noise (float16 targets) and feed no statistics."""


MANY_COLUMNS, BLOCK = 1000, 64
"""Rows as long as that are searched for their two largest entries in blocks."""

ROUNDINGS = 4
"""Of a target: smoothed, scaled twice and added by mixup."""

MULTI_LABEL = (
    "Multi-label targets (several labels of one sample, each a 1) are not supported: a sample is weighted by its "
    "class. Give one label for each sample, or a mixture of labels whose masses sum to 1."
)


def tolerance_of(dtype: torch.dtype) -> float:
    """How far masses may be off 1 by the rounding of targets of that dtype."""
    return max(2e-3, 8 * torch.finfo(dtype).eps)


def check_targets(
    logits: Tensor, targets: Tensor, num_classes: int, ignore_index: int | None = None, dense: bool = False
) -> None:
    """Refuses shapes and dtypes that would broadcast or index silently; never waits for a GPU.

    Args:
        logits: floating point, `[B, C]`, and where `dense` also `[B, C, d1, ...]`.
        targets: int64 `[B]` (`[B, d1, ...]`) or floating point of the logits' shape.
        num_classes: C.
        ignore_index: a label that is allowed, whatever it is.
        dense: whether logits may have more than two dimensions.

    Raises:
        ValueError: for wrong shapes, or (on the CPU) labels outside `0..C-1`.
        TypeError: for wrong dtypes, and for what is no tensor.
    """
    check_tensors(logits, targets)
    if logits.ndim < 2 or logits.shape[1] != num_classes or (logits.ndim > 2 and not dense):
        more = f" or [B, {num_classes}, d1, ...]" if dense else ""
        raise ValueError(
            f"Expected logits of shape [B, {num_classes}]{more} (one column for each entry of class_counts) "
            f"but got {list(logits.shape)}{_other_order(logits, targets, num_classes)}."
        )
    if not logits.is_floating_point():
        raise TypeError(f"Expected floating point logits but got {logits.dtype}.")
    if targets.is_floating_point() and targets.shape == logits.shape:
        return
    expected = logits.shape[:1] + logits.shape[2:]
    if targets.dtype != torch.int64 or targets.shape != expected:
        error = ValueError if targets.is_floating_point() or targets.dtype == torch.int64 else TypeError
        raise error(
            f"Expected {expected.numel()} labels {list(expected)}, int64, or soft targets of the logits' shape "
            f"{list(logits.shape)}, floating point, but got {targets.dtype} {list(targets.shape)}: "
            f"{_remedy(targets, logits, expected)}"
        )
    if targets.device.type == "cpu" and targets.numel() and not in_vmap():
        _check_labels(targets, num_classes, ignore_index)


def _remedy(targets: Tensor, logits: Tensor, expected: torch.Size) -> str:
    """What to do with targets whose dtype or shape is not the expected one."""
    if targets.shape == logits.shape:
        one_hot = "of one-hot targets give targets.argmax(dim=1)."
        rows = targets.long() if cheap_to_read(targets) and not targets.is_complex() else None
        if rows is None:
            return f"{one_hot} {MULTI_LABEL}"
        return one_hot if bool(((rows.sum(dim=1) == 1) & (rows.amin(dim=1) == 0)).all()) else MULTI_LABEL
    if targets.shape == expected:
        return "labels are whole numbers, give targets.long()."
    if targets.shape[:1] + targets.shape[2:] == expected and targets.shape[1] == 1:
        return "give targets.squeeze(1), as labels (targets.long())."
    return "give one label, or one row of masses, for each row of logits."


def _other_order(logits: Tensor, targets: Tensor, num_classes: int) -> str:
    """What may explain logits of another shape, for the error."""
    if logits.shape == (num_classes,):
        return " (of a single sample give logits[None] and targets[None])"
    swapped = targets.ndim > 1 and targets.shape[1] == num_classes and targets.is_floating_point()
    return " (logits come first, then targets)" if swapped else ""


def check_tensors(logits: Any, targets: Any) -> None:
    """Raises a TypeError for what is no tensor, naming the tensors that it holds."""
    for name, value in (("logits", logits), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise TypeError(f"Expected {name} to be a tensor but got {type(value).__name__}: {_held(name, value)}.")


def _held(name: str, value: Any) -> str:
    """How to get a tensor from what was given as logits or targets."""
    if isinstance(getattr(value, name, None), Tensor):
        return f"give its .{name}"
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, Sequence) else ()
    places = [f"[{place!r}]" for place, entry in entries if isinstance(entry, Tensor)]
    if places:
        return f"give the tensor in it that holds the {name}, {name}{f' or {name}'.join(places[:4])}"
    if value is None or isinstance(value, Mapping):
        return "give the model's output" if name == "logits" else "give the labels of the batch"
    return f"give torch.as_tensor({name})"


def _check_labels(labels: Tensor, num_classes: int, ignore_index: int | None) -> None:
    if torch.compiler.is_compiling():
        sound = (labels >= 0) & (labels < num_classes)
        if ignore_index is not None:
            sound |= labels == ignore_index
        torch._assert_async(sound.all(), f"Expected labels in 0..{num_classes - 1}.")
        return
    low, high = (int(label) for label in labels.aminmax())
    if (low < 0 or high >= num_classes) and ignore_index is not None:
        labels = labels[labels != ignore_index]
        low, high = (int(label) for label in labels.aminmax()) if len(labels) else (0, 0)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected labels in 0..{num_classes - 1} but got {low if low < 0 else high}: give labels counted from 0, "
            "the class_counts of this data set (all of its classes), and a label to leave out as `ignore_index`."
        )


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
        raise ValueError(
            f"Expected soft targets whose rows sum to 1 but one is off by {worst:.3g}.{_of_other_sums(rows)}"
        )
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
            "give the label smoothing that the mixup function applies as `smoothing`. Targets that give every label a "
            "mass of its own are not supported: they cannot be told from smoothed ones."
        )


def _of_other_sums(rows: Tensor) -> str:
    """What to do with soft targets whose rows do not all sum to 1."""
    empty = (rows == 0).all(dim=1)
    if bool(empty.any()) and not bool(empty.all()) and bool((rows.sum(dim=1)[~empty] - 1).abs().max() < 0.1):
        return (
            f" {int(empty.sum())} rows are all 0: leave samples without a label out (kept = targets.sum(1) > 0, "
            "logits[kept], targets[kept]), or give labels, int64 [B], with an ignore_index."
        )
    return f" {MULTI_LABEL}" if bool(((rows == 0) | (rows == 1)).all()) else ""


def constituent_masses(targets: Tensor, smoothing: float, weights: Tensor | None = None) -> Tensor:
    """Undoes label smoothing: m = (t - eps/C) / (1 - eps), the mass of each hard label in a soft target.

    What the rounding of the targets leaves of eps/C in labels that a target does not hold is no mass.

    Args:
        targets: floating point `[B, C]`: a mixture of any number of hard labels, smoothed by eps.
        smoothing: eps in [0, 1).
        weights: what to multiply the masses of each label by, `[C]`; 1 by default.

    Returns:
        Masses times weights, at least float32, `[B, C]`, none below 0; rows of masses sum to 1 when those of `targets`
        do.
    """
    num_classes = targets.shape[1]
    noise = _smoothing_noise(smoothing / num_classes, targets.dtype) * (1.0 - smoothing) if smoothing else 0.0
    masses = torch.threshold_(_widened(targets) - smoothing / num_classes, noise, 0.0)
    if weights is None:
        return masses.div_(1.0 - smoothing) if smoothing else masses
    return masses.to(weights).mul_(weights / (1.0 - smoothing))


def _smoothing_noise(uniform: float, dtype: torch.dtype) -> float:
    """How far eps/C may be off after a few roundings (mixing twice, in float32 at best), normal or subnormal."""
    least = torch.finfo(dtype)
    return ROUNDINGS * (max(least.eps, torch.finfo(torch.float32).eps) * uniform + least.smallest_normal * least.eps)


def constituents(targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The (at most) two hard labels of which each target is mixed, the heavier first.

    Args:
        targets: floating point `[B, C]`, as for `constituent_masses`.
        smoothing: eps in [0, 1).

    Returns:
        Labels, int64 `[B, K]`, and their masses `[B, K]`, K = min(2, C); masses below
        `NEGLIGIBLE_MASS` come back as 0.
    """
    values, labels = two_largest(targets)
    masses = _unsmoothed(values, smoothing, targets.shape[1]).clamp_(min=0.0)
    return labels, masses.masked_fill_(~(masses >= NEGLIGIBLE_MASS), 0.0)


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
    """Masses of some columns of the targets, in a new tensor; rounding may leave them below 0."""
    return (_widened(targets) - smoothing / num_classes).div_(1.0 - smoothing)


def _widened(targets: Tensor) -> Tensor:
    return targets if targets.dtype == torch.float64 else targets.float()


def two_largest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The two largest entries of each row and their places, `[B, min(2, C)]`: `topk`, 4 times faster for 8142 columns.

    The two largest lie in the two blocks of the largest maxima (or behind the last whole block).
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
