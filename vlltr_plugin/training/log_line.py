"""The numbers of an epoch for the host's log line."""

from torch import Tensor

from vlltr_plugin.core.normalization import expected_alpha
from vlltr_plugin.core.weighting import Weighting

Statistics = dict[str, float | int | None]


def summary(weighting: Weighting, in_force: Tensor, drawn: Tensor) -> Statistics:
    """The statistics of an epoch that has just ended.

    Args:
        weighting: after `end_epoch`.
        in_force: its weights during the epoch, `[C]`.
        drawn: how many samples of each class came (mixed ones by mass), `[C]`.

    Returns:
        Name to plain number, None where there is nothing to say.
    """
    in_force = in_force.to(weighting.home)
    present = weighting.class_counts > 0
    alpha = in_force.double()[present]
    own = present & ~weighting.substituted
    measured = weighting.uses_logits and weighting.has_radii
    total = float(drawn.sum())
    drawn_alpha = float((drawn.to(in_force.device) * in_force).sum()) / total if total else None
    return {
        "alpha_min": float(alpha.min()),
        "alpha_median": float(alpha.median()),
        "alpha_max": float(alpha.max()),
        "log_radius_mean": float(weighting.log_radius64[own].mean()) if measured else None,
        "substituted": int((weighting.substituted & present).sum()),
        "skipped": int(getattr(weighting, "skipped", 0)),
        "expected_alpha": expected_alpha(in_force, weighting.draws),
        "drawn_alpha": drawn_alpha,
        "drawn_alpha_se": _standard_error(in_force.double(), weighting.draws, total) if total else None,
    }


def _standard_error(alpha: Tensor, draws: Tensor, total: float) -> float:
    """Of the mean of alpha over `total` independent draws; draws without replacement vary less."""
    share = draws / draws.sum()
    mean = (share * alpha).sum()
    return float(((share * (alpha - mean).square()).sum() / total).sqrt())
