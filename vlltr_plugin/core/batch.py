"""A batch, checked and unmixed once for the loss, the statistics and the counts of draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.torch_context import cheap_to_read, in_vmap

# -65504: a common mask; a logit that float16 cannot hold becomes -inf, not this.
HALF_MINIMUM = torch.finfo(torch.float16).min
LARGEST = torch.finfo(torch.float32).max

# A masked logit is at most minus this, and at most minus this times the absolute value of the row's largest logit.
# In a row of large logits both extremes are far from 0, so it does not count as masked.
MASKED_FROM = 1e5

NEGLIGIBLE_MASS = 1e-3  # lighter constituents are rounding noise (float16 targets) and do not count in the statistics
MANY_COLUMNS, BLOCK = 1000, 64  # in rows of at least this length, the two largest entries are searched in blocks
ROUNDINGS = 4  # rounding steps of a target: smoothed, scaled twice and added by mixup
MULTI_LABEL = (
    "Multi-label targets (several labels of one sample, each a 1) are not supported: a sample is weighted by its "
    "class. Give one label for each sample, or a mixture of labels whose masses sum to 1."
)
NO_MASSES = "Give the mass of each label, scores as scores.softmax(dim=1), or labels, int64 [B]."


@dataclass
class Batch:
    """The elements of a checked batch, as rows.

    On the CPU ignored elements are removed, so N counts the kept ones. On a GPU and under `torch.compile`, where that
    would have to wait, all elements stay: an ignored one is a row of class 0 that `rows_kept` excludes.
    """

    logits: Tensor  # float32 at least, `[N, C]`
    targets: Tensor  # labels, int64 `[N]`, or mixtures, floating point `[N, C]`
    masses: Tensor | None  # of mixtures: the mass of each hard label times 1 - smoothing, `[N, C]`
    smoothing: float  # label smoothing that mixtures contain
    kept: Tensor | None  # which of the caller's elements are not ignored, bool; None if all are kept
    shape: torch.Size  # of the caller's elements, `[B]` or `[B, d1, ...]`
    cheap: (
        bool  # True if reading values does not wait for a GPU (`cheap_to_read`); then labels are known to be in range
    )

    @property
    def rows_kept(self) -> Tensor | None:
        """True for the N rows that are not ignored, bool `[N]`; None if all are kept."""
        return None if self.kept is None or len(self.logits) < len(self.kept) else self.kept

    def to(self, device: torch.device) -> Batch:
        """The batch without gradients on another device; checked if moved to the CPU."""
        if device == self.logits.device:
            return self
        logits, targets = self.logits.detach().to(device), self.targets.detach().to(device)
        moved = batch_of(logits, targets, logits.shape[1], self.smoothing)
        return replace(moved, kept=None if self.rows_kept is None else self.rows_kept.to(device), shape=self.shape)

    def drawn(self) -> Tensor:
        """The samples of each class, `[C]`, mixtures counted by mass; labels out of range do not count."""
        classes, kept = self.logits.shape[1], self.rows_kept
        if self.masses is not None:
            return self.masses.detach().sum(dim=0).double() / (1.0 - self.smoothing)
        if self.cheap and kept is None:
            return torch.bincount(self.targets, minlength=classes)
        counted = (self.targets >= 0) & (self.targets < classes)
        counted = counted if kept is None else counted & kept
        none = torch.zeros(classes, dtype=torch.float64, device=self.targets.device)
        return none.index_add_(0, self.targets.clamp(0, classes - 1), counted.double())

    def reduced(self, losses: Tensor, reduction: str) -> Tensor:
        """Losses `[N]`, reduced as in `torch.nn.CrossEntropyLoss`; the mean over no elements is 0."""
        if reduction == "none":
            return self.unflatten(losses)
        rows = self.rows_kept
        losses = losses if rows is None else losses.masked_fill(~rows, 0.0)
        if reduction == "sum" or not len(losses):
            return losses.sum()
        return losses.mean() if rows is None else losses.sum() / rows.sum().clamp(min=1)

    def unflatten(self, losses: Tensor) -> Tensor:
        """Losses `[N]` in the shape of the caller's elements, 0 for ignored elements."""
        if self.kept is not None:
            rows = self.rows_kept
            if rows is None:
                losses = losses.new_zeros(self.kept.shape).masked_scatter(self.kept, losses)
            else:
                losses = losses.masked_fill(~rows, 0.0)
        return losses.view(self.shape)


def batch_of(
    logits: Tensor,
    targets: Tensor,
    num_classes: int,
    smoothing: float = 0.0,
    ignore_index: int | None = None,
    dense: bool = True,
) -> Batch:
    """Checks logits `[B, C]` or (if `dense`) `[B, C, d1, ...]` and their targets, and arranges them as rows."""
    _check_shapes(logits, targets, num_classes, dense)
    shape, soft, kept = logits.shape[:1] + logits.shape[2:], targets.is_floating_point(), None
    cheap = cheap_to_read(targets) and logits.device.type == "cpu"
    if not soft and targets.device.type == "cpu" and targets.numel() and not in_vmap():
        _check_labels(targets, num_classes, ignore_index)
    if logits.ndim > 2:
        logits = logits.movedim(1, -1).reshape(-1, num_classes)
        targets = targets.movedim(1, -1).reshape(-1, num_classes) if soft else targets.reshape(-1)
    if ignore_index is not None and not soft:
        kept = targets != ignore_index
        if not cheap:
            targets = targets.masked_fill(~kept, 0)
        elif bool(kept.all()):
            kept = None
        else:
            logits, targets = logits[kept], targets[kept]
    masses = unsmoothed(targets, smoothing) if soft else None
    return Batch(widened(logits), targets, masses, smoothing, kept, shape, cheap)


def widened(logits: Tensor) -> Tensor:
    """Converts half precision to float32; float64 stays, since its differences keep digits that float32 would lose."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def all_within_reach(rows: Tensor) -> bool:
    """True if the norm or the extremes show that every row is sound; if False, ask `are_sound`. Reads values."""
    if (
        rows.numel() == 0 or float(torch.linalg.vector_norm(rows)) < -HALF_MINIMUM
    ):  # the norm takes half the time of the extremes
        return True
    lowest, highest = rows.aminmax()
    return float(lowest) > HALF_MINIMUM and float(highest) <= LARGEST


def are_sound(rows: Tensor) -> Tensor:
    """True for each row `[B, D]` that is finite and has no masked logit, bool `[B]`; does not wait for a GPU."""
    # Models mask the logits of impossible classes (not learned yet, not sampled) with -1e9 or the dtype's minimum.
    lowest, highest = torch.aminmax(rows, dim=1)
    masked_from = (highest.abs() * MASKED_FROM).clamp(MASKED_FROM, LARGEST)
    return (lowest + masked_from > 0) & (lowest != HALF_MINIMUM) & (highest <= LARGEST)


def _check_shapes(logits: Tensor, targets: Tensor, num_classes: int, dense: bool) -> None:
    """Raises an error for anything but a tensor, and for shapes and dtypes that would broadcast or index silently."""
    for name, value in (("logits", logits), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise TypeError(f"Expected {name} to be a tensor but got {type(value).__name__}: {_held(name, value)}.")
    if logits.ndim < 2 or logits.shape[1] != num_classes or (logits.ndim > 2 and not dense):
        more, cause = f" or [B, {num_classes}, d1, ...]" if dense else "", ""
        if logits.shape == (num_classes,):
            cause = " (for a single sample, pass logits[None] and targets[None])"
        elif targets.ndim > 1 and targets.shape[1] == num_classes and targets.is_floating_point():
            cause = " (logits come first, then targets)"
        raise ValueError(
            f"Expected logits of shape [B, {num_classes}]{more} (one column for each entry of class_counts) "
            f"but got {list(logits.shape)}{cause}."
        )
    if not logits.is_floating_point():
        raise TypeError(f"Expected floating point logits but got {logits.dtype}.")
    expected = logits.shape[:1] + logits.shape[2:]
    soft = targets.is_floating_point()
    if targets.shape == logits.shape if soft else targets.dtype == torch.int64 and targets.shape == expected:
        return
    error = ValueError if soft or targets.dtype == torch.int64 else TypeError
    raise error(
        f"Expected {expected.numel()} labels {list(expected)}, int64, or soft targets of the logits' shape "
        f"{list(logits.shape)}, floating point, but got {targets.dtype} {list(targets.shape)}: "
        f"{_remedy(targets, logits, expected)}"
    )


def _remedy(targets: Tensor, logits: Tensor, expected: torch.Size) -> str:
    """Advice for targets of another dtype or shape."""
    if targets.shape == logits.shape:
        one_hot = "for one-hot targets, pass targets.argmax(dim=1)."
        if not cheap_to_read(targets) or targets.is_complex():
            return f"{one_hot} {MULTI_LABEL}"
        rows = targets.long()
        return one_hot if bool(((rows.sum(dim=1) == 1) & (rows.amin(dim=1) == 0)).all()) else MULTI_LABEL
    if targets.shape == expected:
        return "labels are whole numbers, give targets.long()."
    if targets.shape[:1] + targets.shape[2:] == expected and targets.shape[1] == 1:
        return "give targets.squeeze(1), as labels (targets.long())."
    return "give one label, or one row of masses, for each row of logits."


def _held(name: str, value: Any) -> str:
    """Advice on how to get a tensor from an object given as logits or targets."""
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
            f"Expected labels in 0..{num_classes - 1} but got {low if low < 0 else high}. Labels count from 0. Pass "
            "the class_counts of this data set (all of its classes), and a label to be ignored as `ignore_index`."
        )


def tolerance_of(dtype: torch.dtype) -> float:
    """How far masses may differ from 1 due to rounding of targets of this dtype."""
    return max(2e-3, 8 * torch.finfo(dtype).eps)


def check_smoothing(targets: Tensor, smoothing: float) -> None:
    """Raises ValueError for soft targets whose rows do not sum to 1, are negative, or show another label smoothing.

    Smoothing leaves at least eps/C in every column, whatever C; a mixture of at most two labels leaves eps/C in
    every other one, so for C >= 3 the row minimum shows eps. Reads the targets, which waits for a GPU.
    """
    if len(targets) == 0:
        return
    tolerance = tolerance_of(targets.dtype)
    rows = targets.detach().float()
    sums = rows.sum(dim=1)
    worst = max(abs(float(extreme) - 1) for extreme in sums.aminmax())
    if not worst <= tolerance:
        empty = (rows == 0).all(dim=1)
        advice = f" {MULTI_LABEL if bool(((rows == 0) | (rows == 1)).all()) else NO_MASSES}"
        if bool(empty.any()) and not bool(empty.all()) and bool((sums[~empty] - 1).abs().max() < 0.1):
            advice = (
                f" {int(empty.sum())} rows are all 0: leave samples without a label out (kept = targets.sum(1) > 0, "
                "logits[kept], targets[kept]), or give labels, int64 [B], with an ignore_index."
            )
        raise ValueError(f"Expected soft targets whose rows sum to 1 but one is off by {worst:.3g}.{advice}")
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


def unsmoothed(targets: Tensor, smoothing: float) -> Tensor:
    """T - eps/C: the mass of each hard label times 1 - eps, new, at least float32, none below 0."""
    values = targets if targets.dtype == torch.float64 else targets.float()
    if not smoothing:
        return torch.threshold(values, 0.0, 0.0)
    # Rounding (mixing twice, in float32 at best) leaves a residue in labels that a target does not hold: set it to 0.
    uniform, kind = smoothing / targets.shape[1], torch.finfo(targets.dtype)
    noise = ROUNDINGS * (max(kind.eps, torch.finfo(torch.float32).eps) * uniform + kind.smallest_normal * kind.eps)
    return torch.threshold_(values - uniform, noise * (1.0 - smoothing), 0.0)


def two_largest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The two largest entries of each row and their indices, `[B, min(2, C)]`; faster than `topk` for many columns."""
    columns = values.shape[1]
    if columns < MANY_COLUMNS:
        largest = values.topk(min(2, columns), dim=1)
        return largest.values, largest.indices
    # They lie in the two blocks with the largest maxima (or behind the last whole block).
    whole = columns // BLOCK * BLOCK
    blocks = values[:, :whole].unflatten(1, (-1, BLOCK)).amax(dim=2).topk(2, dim=1).indices * BLOCK
    within = torch.arange(BLOCK, device=values.device)
    rest = torch.arange(whole, columns, device=values.device).expand(len(values), -1)
    candidates = torch.cat([(blocks[:, :, None] + within).flatten(1), rest], dim=1)
    largest = values.gather(1, candidates).topk(2, dim=1)
    return largest.values, candidates.gather(1, largest.indices)
