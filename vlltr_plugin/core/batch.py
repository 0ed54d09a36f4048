"""A batch, checked once and taken apart once: for the loss, the statistics and the counts of draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.targets import MULTI_LABEL, unsmoothed
from vlltr_plugin.core.torch_context import cheap_to_read, in_vmap

HALF_MINIMUM = torch.finfo(torch.float16).min
"""-65504: a common mask; a logit that float16 cannot hold becomes -inf, not this."""

LARGEST = torch.finfo(torch.float32).max

MASKED_FROM = 1e5
"""A masked logit is at most minus this, and at most minus this times the absolute value of the row's largest logit.
Both ends of a row of large logits are far from 0, so these do not count as masked."""


@dataclass
class Batch:
    """The elements of a checked batch, in rows.

    Where ignored elements can be taken out without waiting, N counts the kept ones. On a GPU and under `torch.compile`
    all elements stay: an ignored one as a row of class 0 that `rows_kept` leaves out.
    """

    logits: Tensor
    """Float32 at least, `[N, C]`."""
    targets: Tensor
    """Labels, int64 `[N]`, or mixtures, floating point `[N, C]`."""
    masses: Tensor | None
    """Of mixtures: the mass of each hard label times 1 - smoothing, `[N, C]`."""
    smoothing: float
    """Label smoothing that mixtures contain."""
    kept: Tensor | None
    """Elements that are not ignored, bool over all of the caller's; None if all are kept."""
    shape: torch.Size
    """Of the caller's elements, `[B]` or `[B, d1, ...]`."""
    cheap: bool
    """Whether reading values costs nothing, see `cheap_to_read`; labels are known to be in range then."""

    @property
    def rows_kept(self) -> Tensor | None:
        """Which of the N rows are not ignored, bool `[N]`; None if all are kept."""
        return None if self.kept is None or len(self.logits) < len(self.kept) else self.kept

    def to(self, device: torch.device) -> Batch:
        """The batch without gradients on another device; one that comes to the CPU is checked there."""
        if device == self.logits.device:
            return self
        logits, targets = self.logits.detach().to(device), self.targets.detach().to(device)
        moved = batch_of(logits, targets, logits.shape[1], self.smoothing)
        return replace(moved, kept=None if self.rows_kept is None else self.rows_kept.to(device), shape=self.shape)

    def drawn(self) -> Tensor:
        """The samples of each class, mixtures by mass, `[C]`; labels out of range do not count."""
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
        """Losses `[N]` as `torch.nn.CrossEntropyLoss` reduces them; the mean over no element is 0."""
        if reduction == "none":
            return self.spread(losses)
        rows = self.rows_kept
        losses = losses if rows is None else losses.masked_fill(~rows, 0.0)
        if reduction == "sum" or not len(losses):
            return losses.sum()
        return losses.mean() if rows is None else losses.sum() / rows.sum().clamp(min=1)

    def spread(self, losses: Tensor) -> Tensor:
        """Losses `[N]` in the shape of the caller's elements, 0 where they are ignored."""
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
    """Checks logits `[B, C]` or (where `dense`) `[B, C, d1, ...]` and their targets, and puts them in rows.

    Raises:
        ValueError: for wrong shapes, or (on the CPU) labels outside 0..C-1 other than `ignore_index`.
        TypeError: for wrong dtypes, and if one is no tensor.
    """
    _check_targets(logits, targets, num_classes, ignore_index, dense)
    shape, soft, kept = logits.shape[:1] + logits.shape[2:], targets.is_floating_point(), None
    cheap = cheap_to_read(targets) and logits.device.type == "cpu"
    logits, targets = _in_rows(logits), _in_rows(targets) if soft else targets.reshape(-1)
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


def _in_rows(tensor: Tensor) -> Tensor:
    return tensor if tensor.ndim == 2 else tensor.movedim(1, -1).reshape(-1, tensor.shape[1])


def widened(logits: Tensor) -> Tensor:
    """Half precision as float32; others as they are: differences of float64 keep digits that float32 would lose."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def all_within_reach(rows: Tensor) -> bool:
    """True if the norm or the extremes of all rows show that every row is sound; else ask `are_sound`. Reads values."""
    if rows.numel() == 0 or float(torch.linalg.vector_norm(rows)) < -HALF_MINIMUM:  # the norm takes half the time
        return True
    lowest, highest = rows.aminmax()
    return float(lowest) > HALF_MINIMUM and float(highest) <= LARGEST


def are_sound(rows: Tensor) -> Tensor:
    """Whether each row `[B, D]` is finite and has no masked logit, bool `[B]`; does not wait for a GPU.

    Models put -1e9 or the minimum of a floating point type in the place of logits of classes that cannot be (not
    learned yet, not sampled). A logit is taken for masked if it is float16's minimum, or at most -1e5 and at most -1e5
    times the absolute value of the largest logit of its row.
    """
    lowest, highest = torch.aminmax(rows, dim=1)
    masked_from = (highest.abs() * MASKED_FROM).clamp(MASKED_FROM, LARGEST)
    return (lowest + masked_from > 0) & (lowest != HALF_MINIMUM) & (highest <= LARGEST)


def _check_targets(logits: Tensor, targets: Tensor, num_classes: int, ignore_index: int | None, dense: bool) -> None:
    """Refuses shapes and dtypes that would broadcast or index silently, and (on the CPU) labels outside 0..C-1.

    Where `dense`, logits `[B, C, d1, ...]` are allowed, too. Never waits for a GPU.
    """
    _check_tensors(logits, targets)
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
    """Advice for targets of another dtype or shape."""
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
    """Probable cause of logits of another shape."""
    if logits.shape == (num_classes,):
        return " (of a single sample give logits[None] and targets[None])"
    swapped = targets.ndim > 1 and targets.shape[1] == num_classes and targets.is_floating_point()
    return " (logits come first, then targets)" if swapped else ""


def _check_tensors(logits: Any, targets: Any) -> None:
    """Raises TypeError unless both are tensors, naming the tensors that they hold."""
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
