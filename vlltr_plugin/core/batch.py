"""A batch as a criterion computes with it: dense elements in rows, ignored ones left out, half precision widened."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlltr_plugin.core.passes import readable


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
        if not readable(targets):
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
