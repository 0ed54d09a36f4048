"""What post-hoc logit adjustment takes off the logits: tau times the log prior of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlltr_plugin.errors import ReportError

DEFAULT_TAUS = tuple(0.25 * step for step in range(9))
"""0 to 2 by 0.25; a sweep of these goes on by 0.25 until top-1 falls, see `until_it_falls`."""

FAR_TAUS = tuple(0.25 * step for step in range(33))
"""0 to 8 by 0.25: as far as it goes."""


class TradeOffError(ReportError, ValueError):
    """Logits, labels, counts or taus that do not fit; also a ValueError, for those who call from Python."""


def log_prior(prior: ArrayLike) -> NDArray[np.float64]:
    """log(m_i / max_j m_j), `[C]`: at most 0, and exactly 0 for all classes of a constant prior.

    A class that is never drawn has no log prior: minus infinity would make it the prediction for every image. It takes
    that of the rarest class that is drawn, so that it gains as much as that one, whatever the unit of `prior`.

    Args:
        prior: m_i, expected draws or training images of each class, `[C]`; only the ratios matter.

    Returns:
        float64 `[C]`.

    Raises:
        TradeOffError: for numbers that are negative, not finite or all 0.
    """
    values = np.asarray(prior, dtype=np.float64)
    drawn = values > 0
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not drawn.any():
        raise TradeOffError("Expected a prior of one finite number a class, not negative and not all 0.")
    logs = np.log(np.where(drawn, values, values[drawn].min()))
    relative: NDArray[np.float64] = logs - logs.max()
    return relative


def checked_taus(taus: Sequence[float]) -> tuple[float, ...]:
    """The taus in ascending order, each once.

    Raises:
        TradeOffError: for none, and for one that is no finite number.
    """
    found = sorted({float(tau) + 0.0 for tau in taus})  # -0.0 is 0.0
    if not found or not np.isfinite(found).all():
        raise TradeOffError(f"Expected tau to be one or more finite numbers but got {list(taus)}.")
    return tuple(found)
