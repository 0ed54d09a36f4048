"""The numbers of an epoch, which `end_epoch` returns and log lines hold as `train_reweight_*`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Statistics = dict[str, float | int]

LOGGED = "train_reweight_"
"""Prefix of each name in a log."""

NAMES = (
    "alpha_min",
    "alpha_median",
    "alpha_max",
    "log_radius_mean",
    "substituted",
    "skipped",
    "expected_alpha",
    "drawn_alpha",
    "drawn_alpha_se",
)
SECONDS = "seconds"
"""Seconds that `end_epoch` took, for all weightings together."""


def epoch_statistics(
    alpha: Tensor,
    class_counts: Tensor,
    draws: Tensor,
    log_radius: Tensor | None,
    substituted: Tensor,
    skipped: int = 0,
    drawn: Tensor | None = None,
) -> Statistics:
    """The numbers of the epoch that has just ended; what is not known is left out.

    `alpha` was in force during it, `drawn` are the samples of each class that came, `skipped` the rows left out of the
    statistics. `alpha_*` are over the classes with samples; `expected_alpha` is E(alpha) over the expected draws,
    `drawn_alpha` the mean over the samples that came, `drawn_alpha_se` its standard error if draws were independent.
    """
    from vlltr_plugin.core.normalization import expected_alpha  # imports torch; reports need only the names above

    alpha = alpha.to(draws.device).double()
    present = class_counts > 0
    own = present & ~substituted
    statistics: Statistics = {
        "alpha_min": float(alpha[present].min()),
        "alpha_median": float(alpha[present].median()),
        "alpha_max": float(alpha[present].max()),
    }
    if log_radius is not None and bool(own.any()):
        statistics["log_radius_mean"] = float(log_radius[own].mean())
    statistics["substituted"] = int((substituted & present).sum())
    statistics["skipped"] = skipped
    statistics["expected_alpha"] = expected_alpha(alpha, draws)
    total = 0.0 if drawn is None else float(drawn.sum())
    if drawn is not None and total > 0:
        share = draws / draws.sum()
        variance = (share * (alpha - (share * alpha).sum()).square()).sum()
        statistics["drawn_alpha"] = float((drawn.to(alpha.device) * alpha).sum()) / total
        statistics["drawn_alpha_se"] = float((variance / total).sqrt())
    return statistics
