"""Which rows of logits statistics can be taken of: finite ones, without logits that a mask has replaced."""

import torch
from torch import Tensor

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
