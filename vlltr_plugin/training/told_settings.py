"""What a criterion was made of, in the words of a config: for a log, beside another run's."""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.registry import WEIGHTINGS
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.training.settings import KEY

ELSEWHERE = ("type", "num_classes", "class_counts")
"""Settings of a weighting that are told under other names."""


def told(criterion: Criterion | None) -> dict[str, Any]:
    """Its settings: those of the weighting under `reweight`, where they are not the default; plain values."""
    if criterion is None:
        return {KEY: "not the plug-in's"}
    weighting = criterion.weighting
    reweight = None if isinstance(weighting, Uniform) else _not_default(weighting)
    if reweight is not None and isinstance(criterion, LogitAdjustedLoss):
        reweight |= {"form": "logit_adjustment"} | ({} if criterion.tau == 1 else {"tau": criterion.tau})
    drawn, counts = (n / n.sum() for n in (weighting.draws, weighting.class_counts))
    as_counts = torch.allclose(drawn, counts)
    return {
        "nb_classes": weighting.num_classes,
        "training images": round(float(weighting.class_counts.sum())),
        "class counts": _told_apart([round(n) for n in weighting.class_counts.tolist()]),
        "draws": "as class_counts" if as_counts else "given",
        **({} if as_counts else {"draws of the classes": _told_apart([f"{share:.4g}" for share in drawn.tolist()])}),
        "loss": _loss(criterion),
        "smoothing": criterion.smoothing,
        KEY: reweight,
    }


def beside_the_weighting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of told settings, those of the criterion that its weighting's saved state does not tell; {} where not told."""
    if KEY not in settings:
        return {}
    reweight = settings[KEY]
    of_loss = {name: settings[name] for name in ("loss", "smoothing") if name in settings}
    if isinstance(reweight, str):
        return of_loss | {KEY: reweight}
    form = {"form": "loss weights", "tau": 1.0, **(reweight or {})}
    return of_loss | {KEY: "the plug-in's", "form": form["form"], "tau": form["tau"]}


def _told_apart(numbers: Sequence[int | str]) -> str:
    """Numbers of all classes in a few characters: the smallest, the largest, and a digest of all in their order."""
    digest = hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:8]
    return f"{min(numbers, key=float)} to {max(numbers, key=float)} (digest {digest})"


def _not_default(weighting: Weighting) -> dict[str, Any]:
    kind = type(weighting)
    defaults = _defaults(kind)
    name = next((name for name, known in WEIGHTINGS.items() if known is kind), kind.__name__)
    settings = {key: value for key, value in weighting.settings().items() if key not in ELSEWHERE}
    return {"type": name} | {key: value for key, value in settings.items() if defaults.get(key, ...) != value}


def _defaults(kind: type[Weighting]) -> dict[str, Any]:
    """Of the arguments of a class and of those that it passes its own on to."""
    makers = [cls.__init__ for cls in reversed(kind.__mro__) if issubclass(cls, Weighting) and "__init__" in vars(cls)]
    parameters = [p for maker in makers for p in inspect.signature(maker).parameters.values()]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _loss(criterion: Criterion) -> str:
    if isinstance(criterion, LogitAdjustedLoss):
        return "softmax"
    return criterion.base_name if isinstance(criterion, ReweightedLoss) else type(criterion).__name__
