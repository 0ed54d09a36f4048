"""The methods by name: each is a base loss, a weighting and a schedule.

Imports torch only when a criterion is built, so that `cifar-lt --help` is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from vlltr_plugin.core.criterion import Criterion

FEATURES = 64  # features of ResNet-32, which its logits span at most
BETA = 0.9999  # of effective numbers, as Cui et al. and the paper have it on CIFAR-LT


@dataclass(frozen=True)
class Method:
    """How one row of the tables is trained: a base loss, a weighting of the core's registry with its options, and when.

    `explained` is for the help. The weights of a `deferred` method apply from the schedule's `start_epoch` on.
    `adjust` is tau: tau log n_j is subtracted from the test logits. With `margins` the weights are margins of the
    training logits, see `LogitAdjustedLoss`: those of equal radii until the weights of a deferred method apply. With
    `influence` each sample's loss is divided by its influence on the last layer once the weights apply.
    """

    explained: str
    base: str = "softmax"
    weighting: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    deferred: bool = False
    adjust: float = 0.0
    influence: bool = False
    margins: bool = False

    @property
    def warm_up(self) -> str | None:
        """The method that it equals until the weights apply; None if they apply from the first epoch."""
        if self.margins:
            return "inverse-la" if self.deferred or self.weighting == "inverse" else None
        if not self.deferred and self.weighting != "none":
            return None
        return next(name for name, method in METHODS.items() if method.base == self.base and method.weighting == "none")

    def has_no_volume(self, num_classes: int) -> bool:
        """True if it uses more principal axes than the logits span; no class has a volume then, and weights are 1."""
        axes = self.options.get("axes") or num_classes
        return self.options.get("variant") == "pv" and axes > FEATURES

    def criterion(self, class_counts: Tensor, draws: Tensor, start_epoch: int) -> Criterion:
        """A new criterion for one run."""
        from vlltr_plugin.cifar_lt.network import BalancedSoftmaxLoss, LADELoss, LDAMLoss
        from vlltr_plugin.core.base_losses import FocalLosses
        from vlltr_plugin.core.criterion import ReweightedLoss
        from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
        from vlltr_plugin.core.registry import build_weighting

        start = {"start_epoch": start_epoch} if self.deferred else {}
        weighting = build_weighting(self.weighting, class_counts, draws, **self.options, **start)
        if self.margins:
            return LogitAdjustedLoss(weighting)
        of_counts = {"ldam": LDAMLoss, "balanced_softmax": BalancedSoftmaxLoss, "lade": LADELoss}
        base: Any = of_counts[self.base](class_counts) if self.base in of_counts else self.base
        return ReweightedLoss(weighting, base=FocalLosses(gamma=1.0) if self.base == "focal" else base)


def _effective_number(explained: str, normalize: str = "mean", **method: Any) -> Method:
    return Method(explained, weighting="effective_number", options={"beta": BETA, "normalize": normalize}, **method)


def _class_volume(explained: str, margins: bool = False, **options: Any) -> Method:
    return Method(explained, weighting="class_volume", options=options, deferred=True, margins=margins)


METHODS: Mapping[str, Method] = {
    "ce": Method("plain cross entropy"),
    "inverse": Method("weights 1/n from the first epoch on", weighting="inverse"),
    "inverse-drw": Method(
        "the same, deferred to the last fifth of the epochs (DRW)", weighting="inverse", deferred=True
    ),
    "en": _effective_number("effective numbers (Cui et al., CVPR 2019), mean over the classes 1"),
    "en-drw": _effective_number("the same, deferred", deferred=True),
    "en-drw-ne": _effective_number("the same, with E(alpha) = 1 over the draws (NE)", "expected", deferred=True),
    "dv": _class_volume("class volume of the logits, alpha ~ r/m, E(alpha) = 1, deferred"),
    "dv-mean": _class_volume("the same, mean over the classes 1 (the paper's Table 2)", normalize="mean"),
    "dv-s30": _class_volume("dv; classes of fewer than 30 images take the mean radius", min_samples=30),
    "dv-debias": _class_volume("dv, corrected for the small samples of rare classes", debias=True),
    "dv-dataset": _class_volume("dv with alpha ~ r/n also under the sqrt sampler", counts="dataset"),
    "dv-letter": _class_volume(
        "the same with Eq. 6 and 16 taken literally: mean over the data set 1", counts="dataset", normalize="dataset"
    ),
    "bv": _class_volume("class volume of the differences between logits", variant="bv"),
    "bv-mean": _class_volume("the same, mean over the classes 1", variant="bv", normalize="mean"),
    "pv": _class_volume("class volume along the principal axes", variant="pv"),
    "pv-mean": _class_volume("the same, mean over the classes 1", variant="pv", normalize="mean"),
    "pv10": _class_volume("class volume along the first 10 principal axes", variant="pv", axes=10),
    "pv10-mean": _class_volume("the same, mean over the classes 1", variant="pv", axes=10, normalize="mean"),
    "focal": Method("focal loss, gamma 1 (Lin et al., ICCV 2017)", base="focal"),
    "cb-focal": _effective_number("the same with effective numbers (class-balanced)", base="focal"),
    "cb-sigmoid": _effective_number("sigmoid cross entropy with effective numbers", base="sigmoid"),
    "ldam": Method("margins n^(-1/4) (Cao et al., NeurIPS 2019)", base="ldam"),
    "ldam-drw": _effective_number("the same with deferred effective numbers", base="ldam", deferred=True),
    "balanced-softmax": Method("log n added to the logits (Ren et al., NeurIPS 2020)", base="balanced_softmax"),
    "logit-adjustment": Method("ce with log n taken off the test logits (Menon et al., ICLR 2021)", adjust=1.0),
    "inverse-la": Method("1/m as margins: balanced softmax of the sampler's draws", weighting="inverse", margins=True),
    "en-la": _effective_number("effective numbers as margins", margins=True),
    "dv-la": _class_volume("class volume as margins; inverse-la until the volumes apply", margins=True),
    "ib": Method(
        "influence-balanced loss (Park et al., ICCV 2021)",
        weighting="inverse",
        options={"normalize": "mean"},
        deferred=True,
        influence=True,
    ),
    "lade": Method("LADE (Hong et al., CVPR 2021)", base="lade"),
}
"""`dv-dataset` and `dv-letter` are the other readings of Eq. 6 and 16: they differ from `dv` under the sqrt sampler
only. `*-mean` have the paper's older normalisation, that of its Table 2. `logit-adjustment` is the post-hoc one (Menon
et al., ICLR 2021, Eq. 9): as a loss it is `balanced-softmax`. `*-la` take the class weights as margins (ours):
`inverse-la` is that loss under the draws of the sampler, `balanced-softmax` where these are uniform; `dv-la` equals it
until its volumes apply. `ib` is deferred like the others; its authors start it halfway (`--start-epoch 100` of 200)."""


def never_weighted(name: str, start_epoch: int, epochs: int) -> str:
    """A warning for a method whose weights would start after the last epoch; else empty."""
    method = METHODS[name]
    start = start_epoch if method.deferred else 0
    first = max(start, 1) if method.weighting == "class_volume" else start  # volumes are known after an epoch
    if method.weighting == "none" or first < epochs:
        return ""
    return (
        f"{name}: its weights apply from epoch {first} on, counted from 0, but there are {epochs} epochs: they never "
        f"apply, and the run is that of {method.warm_up or 'ce'}, exactly. Train more epochs, or start earlier."
    )
