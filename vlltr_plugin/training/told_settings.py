"""What a criterion was made of, in the words of a config: for a log, beside another run's."""

from typing import Any

import torch

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.logit_adjusted_loss import LogitAdjustedLoss
from vlltr_plugin.core.registry import WEIGHTINGS
from vlltr_plugin.core.reweighted_loss import ReweightedLoss
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.training.settings import KEY


def told(criterion: Criterion | None) -> dict[str, Any]:
    """Its settings: those of the weighting under `reweight`, where they are not the default; plain values.

    Args:
        criterion: None for a loss of the loop's own.
    """
    if criterion is None:
        return {KEY: "not the plug-in's"}
    weighting = criterion.weighting
    reweight = None if isinstance(weighting, Uniform) else _not_default(weighting)
    if reweight is not None and isinstance(criterion, LogitAdjustedLoss):
        reweight |= {"form": "logit_adjustment"} | ({} if criterion.tau == 1 else {"tau": criterion.tau})
    drawn, counts = (n / n.sum() for n in (weighting.draws, weighting.class_counts))
    return {
        "nb_classes": weighting.num_classes,
        "training images": round(float(weighting.class_counts.sum())),
        "draws": "as class_counts" if torch.allclose(drawn, counts) else "given",
        "loss": _loss(criterion),
        "smoothing": criterion.smoothing,
        KEY: reweight,
    }


def _not_default(weighting: Weighting) -> dict[str, Any]:
    settings = weighting.settings()
    counts = settings.pop("class_counts")
    try:
        default = type(weighting)(counts).settings()
    except (TypeError, ValueError):  # a weighting of the user's that cannot be made of counts alone
        default = {"num_classes": settings["num_classes"]}
    kind = settings.pop("type")
    name = next((name for name, known in WEIGHTINGS.items() if known is type(weighting)), kind)
    return {"type": name} | {key: value for key, value in settings.items() if default.get(key, ...) != value}


def _loss(criterion: Criterion) -> str:
    if isinstance(criterion, LogitAdjustedLoss):
        return "softmax"
    return criterion.base_name if isinstance(criterion, ReweightedLoss) else type(criterion).__name__
