"""What a baseline's curve has to offer at a given many-shot accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def on_curve(many: Floats, few: Floats, overall: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Few-shot and overall accuracy where the curve has the many-shot accuracy `target`.

    The curve is the line through its points in the order of tau. Where it passes the target more than once (accuracies
    on a finite test set need not fall steadily) the passage with the highest few-shot accuracy counts: a baseline may
    choose its tau. Outside its range there is nothing: no extrapolation.

    Args:
        many: of B curves at T taus, `[B, T]`.
        few: likewise.
        overall: likewise.
        target: `[B]`.

    Returns:
        Few-shot and overall accuracies, `[B]` each; NaN outside.
    """
    if many.shape[1] == 1:
        many, few, overall = (np.repeat(values, 2, axis=1) for values in (many, few, overall))
    start, end = many[:, :-1], many[:, 1:]
    step = end - start
    goal = target[:, None]
    share = np.divide(goal - start, step, out=np.zeros_like(step), where=step != 0)
    share = np.where(step == 0, np.diff(few, axis=1) > 0, share)  # a level stretch: its better end
    passed = (np.minimum(start, end) <= goal) & (goal <= np.maximum(start, end))
    candidates = np.where(passed, _between(few, share), -np.inf)
    chosen = candidates.argmax(axis=1)[:, None]
    found = np.take_along_axis(_between(overall, share), chosen, axis=1)[:, 0]
    outside = ~passed.any(axis=1)
    best = np.take_along_axis(candidates, chosen, axis=1)[:, 0]
    return np.where(outside, np.nan, best), np.where(outside, np.nan, found)


def _between(values: Floats, share: Floats) -> Floats:
    """That far from each point to the next, and exactly the point at either end."""
    found: Floats = (1.0 - share) * values[:, :-1] + share * values[:, 1:]
    return found
