"""The numbers of an epoch, which `end_epoch` returns and logs contain as `train_reweight_*`. Does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Statistics = dict[str, float | int]

LOGGED = "train_reweight_"  # prefix of each name in a log
NAMES = (
    "alpha_min",  # alpha in force during the epoch, over the classes with samples
    "alpha_median",
    "alpha_max",
    "log_radius_mean",
    "substituted",  # classes whose radius is the mean of the others'
    "skipped",  # rows left out of the statistics
    "expected_alpha",  # E(alpha) over the expected draws
    "drawn_alpha",  # mean alpha over the samples that came
    "drawn_alpha_se",  # its standard error if draws were independent
)
SECONDS = "seconds"  # seconds that `end_epoch` took, for all weightings together


def expected_alpha(weights: Tensor, draws: Tensor) -> float:
    """E(alpha) over the expected draws, sum_i m_i alpha_i / sum_i m_i (Eq. 14 with m for n)."""
    share = draws.double()
    return float((share * weights.to(draws.device).double()).sum() / share.sum())
