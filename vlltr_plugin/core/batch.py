"""A batch as a criterion computes with it: elements in rows, ignored ones left out, half precision widened."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlltr_plugin.core.torch_context import cheap_to_read


@dataclass
class Batch:
    """The elements of a batch that has been checked.

    Attributes:
        logits: float32 at least, `[N, C]`.
        targets: int64 `[N]` or floating point `[N, C]`.
        kept: which elements are not ignored, bool `[M]` over all of them; None when all are kept.
        shape: of the elements in the caller's batch, `[B]` or `[B, d1, ...]`; M in all.

    Where elements can be taken out for nothing, N counts the kept ones. On a GPU and under `torch.compile` N = M: there
    an ignored element stays, as one of class 0, for what follows to leave out.
    """

    logits: Tensor
    targets: Tensor
    kept: Tensor | None
    shape: torch.Size

    @property
    def rows_kept(self) -> Tensor | None:
        """Which of the N rows are not ignored, bool `[N]`; None when all are kept."""
        return None if self.kept is None or len(self.logits) < len(self.kept) else self.kept

    def reduced(self, losses: Tensor, reduction: str) -> Tensor:
        """Losses `[N]` as `torch.nn.CrossEntropyLoss` reduces them: `"mean"`, `"sum"` or `"none"` (`spread`).

        The mean is the plain one over the kept elements; 0 where there are none.
        """
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


def batch_of(logits: Tensor, targets: Tensor, ignore_index: int | None) -> Batch:
    """Logits `[B, C, d1, ...]` and targets as `check_targets` passed them, in rows."""
    shape = logits.shape[:1] + logits.shape[2:]
    logits, soft = _in_rows(logits), targets.is_floating_point()
    targets = _in_rows(targets) if soft else targets.reshape(-1)
    kept = None
    if ignore_index is not None and not soft:
        kept = targets != ignore_index
        if not cheap_to_read(targets):
            targets = targets.masked_fill(~kept, 0)
        elif bool(kept.all()):
            kept = None
        else:
            logits, targets = logits[kept], targets[kept]
    return Batch(widened(logits), targets, kept, shape)


def _in_rows(tensor: Tensor) -> Tensor:
    return tensor if tensor.ndim == 2 else tensor.movedim(1, -1).reshape(-1, tensor.shape[1])


def widened(logits: Tensor) -> Tensor:
    """Half precision as float32; others as they are: of float64, differences keep digits that float32 would lose."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


HALF_MINIMUM = torch.finfo(torch.float16).min
"""-65504: a common mask; a logit that float16 cannot hold becomes -inf, not this."""

LARGEST = torch.finfo(torch.float32).max

MASKED_FROM = 1e5
"""A masked logit is that far below 0, and that many times as far as the row's largest logit. Logits of a large scale
are not: both ends of a row are far from 0 there."""


def all_within_reach(rows: Tensor) -> bool:
    """Whether every row is sound, by the batch's extremes alone; False where that takes a closer look.

    Args:
        rows: `[B, D]`, whose values are read.
    """
    if rows.numel() == 0:
        return True
    lowest, highest = rows.aminmax()
    return float(lowest) > HALF_MINIMUM and float(highest) <= LARGEST


def are_sound(rows: Tensor) -> Tensor:
    """Whether a row is finite and has no masked logit; does not wait for a GPU.

    Models put -1e9 or the minimum of a floating point type in the place of logits of classes that cannot be (not
    learned yet, not sampled). A logit is taken for masked if it is float16's minimum, or at most -1e5 and at most -1e5
    times the absolute value of the largest logit of its row.

    Args:
        rows: `[B, D]`, float32 or float64.

    Returns:
        bool `[B]`.
    """
    lowest, highest = torch.aminmax(rows, dim=1)
    masked_from = (highest.abs() * MASKED_FROM).clamp(MASKED_FROM, LARGEST)
    return (lowest + masked_from > 0) & (lowest != HALF_MINIMUM) & (highest <= LARGEST)
