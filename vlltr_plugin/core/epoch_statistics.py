"""The numbers of an epoch, which `end_epoch` returns and log lines hold as `train_reweight_*`: each name spelt once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Statistics = dict[str, float | int]

LOGGED = "train_reweight_"
"""Before each name in a log."""

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
"""How long `end_epoch` took; beside those of `NAMES`, once for all weightings."""


def epoch_statistics(
    alpha: Tensor,
    class_counts: Tensor,
    draws: Tensor,
    log_radius: Tensor | None,
    substituted: Tensor,
    skipped: int = 0,
    drawn: Tensor | None = None,
) -> Statistics:
    """The statistics of an epoch that has just ended.

    Args:
        alpha: weights in force during the epoch, `[C]`.
        class_counts: n_i, `[C]`.
        draws: m_i, expected draws, `[C]`.
        log_radius: log r_i as measured in it, `[C]`; None where nothing is measured.
        substituted: classes that took the mean log radius of the others, bool `[C]`.
        skipped: rows left out of the statistics, since a logit was not finite, or masked.
        drawn: how many samples of each class came (mixed ones by mass), `[C]`; None where that is not known.

    Returns:
        Name to plain number; what is not known is left out. `alpha_*` are over the classes with samples;
        `expected_alpha` is E(alpha) over the expected draws, `drawn_alpha` the mean over the samples that came, and
        `drawn_alpha_se` its standard error if they were independent draws.
    """
    from vlltr_plugin.core.normalization import expected_alpha  # torch; reports need the names above alone

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
        statistics["drawn_alpha"] = float((drawn.to(alpha.device) * alpha).sum()) / total
        statistics["drawn_alpha_se"] = _standard_error(alpha, draws, total)
    return statistics


def _standard_error(alpha: Tensor, draws: Tensor, total: float) -> float:
    """Of the mean of alpha over `total` independent draws; draws without replacement vary less."""
    share = draws / draws.sum()
    mean = (share * alpha).sum()
    return float(((share * (alpha - mean).square()).sum() / total).sqrt())
