"""The methods by name: each a base loss x weighting x schedule of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vlltr_plugin.cifar_lt.losses import BalancedSoftmaxLoss, LADELoss, LDAMLoss
from vlltr_plugin.cifar_lt.resnet import WIDTHS
from vlltr_plugin.core.base_losses import FocalLosses
from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.registry import build_weighting

BETA = 0.9999
"""Of effective numbers, as Cui et al. and the paper have it on CIFAR-LT."""

BASES: Mapping[str, Callable[[Tensor], Any]] = {
    "softmax": lambda class_counts: "softmax",
    "sigmoid": lambda class_counts: "sigmoid",
    "focal": lambda class_counts: FocalLosses(gamma=1.0),
    "ldam": LDAMLoss,
    "balanced_softmax": BalancedSoftmaxLoss,
    "lade": LADELoss,
}


@dataclass(frozen=True)
class Method:
    """How one row of the tables is trained.

    Attributes:
        base: name of the base loss in `BASES`.
        weighting: name in the core's registry.
        options: of the weighting.
        deferred: the weights apply from the recipe's `start_epoch` on, not from the first epoch.
        adjust: tau: subtract tau log n_j of the training counts from the test logits.
        margins: the weights are taken as margins of the training logits, see `LogitAdjustedLoss`; before the weights
            of a deferred method apply these are the margins of equal radii.
        influence: once the weights apply, divide each sample's loss by its influence on the last layer.
    """

    base: str = "softmax"
    weighting: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    deferred: bool = False
    adjust: float = 0.0
    influence: bool = False
    margins: bool = False

    @property
    def warm_up(self) -> str | None:
        """The method that it equals until the weights apply; None when they do from the first epoch."""
        if self.margins:
            return "inverse-la" if self.deferred or self.weighting == "inverse" else None
        if not self.deferred and self.weighting != "none":
            return None
        return next(name for name, method in METHODS.items() if method.base == self.base and method.weighting == "none")

    def applies_from(self, start_epoch: int) -> int:
        """The first epoch, from 0, in which the weights can differ from 1, under a recipe's `start_epoch`."""
        start = start_epoch if self.deferred else 0
        return max(start, 1) if self.weighting == "class_volume" else start  # volumes are known after an epoch

    def has_no_volume(self, num_classes: int) -> bool:
        """Whether it takes more principal axes than the logits span: no class has a volume, so no weight but 1."""
        axes = self.options.get("axes") or num_classes
        return self.options.get("variant") == "pv" and axes > WIDTHS[-1]

    def criterion(self, class_counts: Tensor, draws: Tensor, start_epoch: int) -> Criterion:
        """A new criterion for one run."""
        options = dict(self.options)
        if self.deferred:
            options["start_epoch"] = start_epoch
        weighting = build_weighting(self.weighting, class_counts, draws, **options)
        if self.margins:
            return LogitAdjustedLoss(weighting)
        return ReweightedLoss(weighting, base=BASES[self.base](class_counts))


def _effective_number(normalize: str = "mean", **method: Any) -> Method:
    return Method(weighting="effective_number", options={"beta": BETA, "normalize": normalize}, **method)


def _class_volume(margins: bool = False, **options: Any) -> Method:
    return Method(weighting="class_volume", options=options, deferred=True, margins=margins)


METHODS: Mapping[str, Method] = {
    "ce": Method(),
    "inverse": Method(weighting="inverse"),
    "inverse-drw": Method(weighting="inverse", deferred=True),
    "en": _effective_number(),
    "en-drw": _effective_number(deferred=True),
    "en-drw-ne": _effective_number("expected", deferred=True),
    "dv": _class_volume(),
    "dv-mean": _class_volume(normalize="mean"),
    "dv-s30": _class_volume(min_samples=30),
    "dv-debias": _class_volume(debias=True),
    "dv-dataset": _class_volume(counts="dataset"),
    "dv-letter": _class_volume(counts="dataset", normalize="dataset"),
    "bv": _class_volume(variant="bv"),
    "bv-mean": _class_volume(variant="bv", normalize="mean"),
    "pv": _class_volume(variant="pv"),
    "pv-mean": _class_volume(variant="pv", normalize="mean"),
    "pv10": _class_volume(variant="pv", axes=10),
    "pv10-mean": _class_volume(variant="pv", axes=10, normalize="mean"),
    "focal": Method(base="focal"),
    "cb-focal": _effective_number(base="focal"),
    "cb-sigmoid": _effective_number(base="sigmoid"),
    "ldam": Method(base="ldam"),
    "ldam-drw": _effective_number(base="ldam", deferred=True),
    "balanced-softmax": Method(base="balanced_softmax"),
    "logit-adjustment": Method(adjust=1.0),
    "inverse-la": Method(weighting="inverse", margins=True),
    "en-la": _effective_number(margins=True),
    "dv-la": _class_volume(margins=True),
    "ib": Method(weighting="inverse", options={"normalize": "mean"}, deferred=True, influence=True),
    "lade": Method(base="lade"),
}
"""`dv-dataset` and `dv-letter` are the other readings of Eq. 6 and 16: they differ from `dv` under the sqrt sampler
only. `*-mean` have the paper's older normalisation, that of its Table 2. `logit-adjustment` is the post-hoc one (Menon
et al., ICLR 2021, Eq. 9): as a loss it is `balanced-softmax`. `*-la` take the class weights as margins (ours):
`inverse-la` is that loss under the draws of the sampler, `balanced-softmax` where these are uniform; `dv-la` equals it
until its volumes apply. `ib` is deferred like the others; its authors start it halfway (`--start-epoch 100` of 200)."""


def never_weighted(name: str, start_epoch: int, epochs: int) -> str:
    """What to say of a method whose weights would start after the training's end; empty for all others."""
    method = METHODS[name]
    first = method.applies_from(start_epoch)
    if method.weighting == "none" or first < epochs:
        return ""
    return (
        f"{name}: its weights apply from epoch {first} on, counted from 0, but there are {epochs} epochs: they never "
        f"apply, and the run is that of {method.warm_up or 'ce'}, exactly. Train more epochs, or start earlier."
    )
