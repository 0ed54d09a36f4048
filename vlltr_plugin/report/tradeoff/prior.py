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
    """log(m_i / max_j m_j), float64 `[C]`; see `core.logit_adjustment.log_prior`, which computes it.

    Args:
        prior: m_i, expected draws or training images of each class, `[C]`; only the ratios matter.

    Raises:
        TradeOffError: for numbers that are negative, not finite or all 0.
    """
    from vlltr_plugin.core import logit_adjustment as adjustment  # here: `compare` needs no torch

    try:
        return adjustment.log_prior(np.asarray(prior, dtype=np.float64)).numpy()
    except ValueError as error:
        raise TradeOffError("Expected a prior of one finite number a class, not negative and not all 0.") from error


def checked_taus(taus: Sequence[float]) -> tuple[float, ...]:
    """The taus in ascending order, each once.

    Raises:
        TradeOffError: for none, and for one that is no finite number.
    """
    found = sorted({float(tau) + 0.0 for tau in taus})  # -0.0 is 0.0
    if not found or not np.isfinite(found).all():
        raise TradeOffError(f"Expected tau to be one or more finite numbers but got {list(taus)}.")
    return tuple(found)
