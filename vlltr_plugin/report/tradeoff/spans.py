"""The taus between which each image is classified right: a trade-off curve follows from them exactly, at every tau."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # `compare` counts hits without torch
    from torch import Tensor

CHUNK = 2**20
"""Logits looked at together: 8 MiB of float64."""

Floats = NDArray[np.float64]


def right_between(logits: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    """Smallest and largest tau at which `argmax(logits - tau * log_prior)` is the label.

    The label y leads class j while `tau * (log p_j - log p_y) >= z_j - z_y`: a half-line of taus for each j. Their
    intersection is one interval. At equal values the first class is the prediction.

    Args:
        logits: z, `[B, C]`.
        labels: `[B]`.
        log_prior: log p, float64 `[C]`.

    Returns:
        float64 `[2, B]`, both ends included; (inf, -inf) for an image that is right at no tau.
    """
    import torch

    rows = max(1, CHUNK // logits.shape[1])
    parts = zip(logits.split(rows), labels.split(rows), strict=True)
    return torch.cat([_right_between(part.double(), own, log_prior) for part, own in parts], dim=1)


def _right_between(logits: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    import torch

    lead = logits - logits.gather(1, labels[:, None])
    gain = log_prior - log_prior[labels, None]
    level, first = gain == 0, torch.arange(logits.shape[1], device=labels.device) < labels[:, None]
    beaten = (level & ((lead > 0) | ((lead == 0) & first) | lead.isnan())).any(dim=1)
    crossing = lead.div_(gain)
    start, by = crossing.masked_fill(gain <= 0, -torch.inf).max(dim=1)
    end, until = crossing.masked_fill(gain >= 0, torch.inf).min(dim=1)
    infinity = torch.full_like(start, torch.inf)
    start = torch.where((by < labels) & start.isfinite(), start.nextafter(infinity), start)
    end = torch.where((until < labels) & end.isfinite(), end.nextafter(-infinity), end)
    return _ordered(torch.stack([start, end]), (start <= end) & ~beaten)


def between_margins(margins: Tensor, taus: Tensor) -> Tensor:
    """Smallest and largest tau at which a margin is above 0, by lines between the taus at which it is known.

    Args:
        margins: of the label over the best other class, float64 `[T, B]`.
        taus: ascending, float64 `[T]`. Before the first and after the last the margin's sign stays.

    Returns:
        As `right_between`; of several intervals the hull.
    """
    import torch

    right = margins > 0
    last = len(taus) - 1
    start = right.int().argmax(dim=0)
    end = last - right.flip(0).int().argmax(dim=0)
    before, after = _crossing(margins, taus, start - 1, start), _crossing(margins, taus, end, end + 1)
    start_at = torch.where(start == 0, -torch.inf, before)
    end_at = torch.where(end == last, torch.inf, after)
    return _ordered(torch.stack([start_at, end_at]), right.any(dim=0))


def _crossing(margins: Tensor, taus: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where the line between two taus' margins is 0; halfway where one of them is not finite."""
    low, high = low.clamp(min=0), high.clamp(max=len(taus) - 1)
    one, other = (margins.gather(0, index[None])[0] for index in (low, high))
    share = (one / (one - other)).nan_to_num(0.5).clamp(0, 1)
    return taus[low] + share * (taus[high] - taus[low])


def _ordered(spans: Tensor, right: Tensor) -> Tensor:
    import torch

    never = spans.new_tensor([[torch.inf], [-torch.inf]])
    return torch.where(right, spans, never)


def hits_at(spans: Floats, tau: float) -> NDArray[np.bool_]:
    """Whether each image is right at a tau; `spans` is `[..., 2, N]`, the hits `[..., N]`."""
    hits: NDArray[np.bool_] = (spans[..., 0, :] <= tau) & (tau <= spans[..., 1, :])
    return hits


def right_at(spans: Floats, taus: Floats) -> NDArray[np.int64]:
    """Number of right images at each of many taus, `[K]`; `spans` is `[..., 2, N]`, all summed."""
    starts, ends = np.sort(spans[..., 0, :], axis=None), np.sort(spans[..., 1, :], axis=None)
    never = len(starts) - int(np.searchsorted(starts, np.inf))
    number: NDArray[np.int64] = np.searchsorted(starts, taus, "right") - np.searchsorted(ends, taus, "left") + never
    return number
