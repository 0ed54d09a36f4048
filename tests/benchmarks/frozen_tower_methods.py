"""The methods by name: a weighting of the product, what it learns its radii from, and how the weights are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin import ClassVolume, Weighting, build_weighting, register_weighting

BETA = 0.9999


@register_weighting("altered_volume")
class AlteredVolume(ClassVolume):
    """Class volume whose radii are altered, to see what they are worth.

    Args:
        class_counts, draws, options: as in `ClassVolume`.
        power: g in alpha_i ~ r_i^g / n_i; 0 is inverse frequency.
        shuffle: seed of a permutation of the radii among the classes, the placebo; none by default.
        fitted: log radii are replaced by the straight line in log n that is nearest to them (least squares), so that
            alpha is a plain power of n, as flat or steep as the radii make it: the control.
    """

    def __init__(
        self,
        class_counts: Any,
        draws: Any = None,
        power: float = 1.0,
        shuffle: int | None = None,
        fitted: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(class_counts, draws, **options)
        self.power, self.fitted = power, fitted
        classes = torch.arange(self.num_classes)
        if shuffle is not None:
            classes = torch.randperm(self.num_classes, generator=torch.Generator().manual_seed(shuffle))
        self.origin = classes

    def radii(self) -> Tensor | None:
        """Log r^g, each perhaps of another class."""
        found = super().radii()
        if found is None:
            return None
        if self.fitted:
            found = straight_line(found, self.class_counts.double().log())
        return self.power * found[self.origin]


def straight_line(values: Tensor, x: Tensor) -> Tensor:
    """Each value's place on the least-squares line through all of them, `[C]`."""
    x = x - x.mean()
    slope = (x * values).sum() / x.square().sum()
    return values.mean() + slope * x


@dataclass(frozen=True)
class Method:
    """How one row of the tables is trained.

    Attributes:
        weighting: name in the product's registry.
        options: of the weighting.
        form: `"weights"` (alpha times the loss; in the second half of the training only, after a warm-up without),
            `"adjusted"` (cross entropy of logits - tau log alpha, all radii equal in the first half, as the product
            has it), or `"post_hoc"` (the ce run's test logits + tau log alpha: no training of its own).
        tau: of the last two.
        held_out: the radii come from test images, after every epoch, instead of the training pass.
        shuffled: the radii are permuted among the classes, another permutation for every seed.
    """

    weighting: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    form: str = "weights"
    tau: float = 1.0
    held_out: bool = False
    shuffled: bool = False

    @property
    def warm_up(self) -> str:
        """Name of the method that it equals in the first half."""
        if self.form != "adjusted":
            return "ce"
        same = Method(self.weighting, self.options, self.form, self.tau)
        if "volume" in self.weighting:
            counts = {key: value for key, value in self.options.items() if key == "counts"}
            same = Method("inverse", counts, self.form, self.tau)
        return next(name for name, method in METHODS.items() if method == same)

    def build(self, class_counts: Tensor, draws: Tensor, start_epoch: int, seed: int) -> Weighting:
        """The product's weighting for one run."""
        options = dict(self.options)
        if self.weighting != "none" and (self.form == "weights" or "volume" in self.weighting):
            options["start_epoch"] = start_epoch
        if self.shuffled:
            options["shuffle"] = seed
        return build_weighting(self.weighting, class_counts, draws, **options)


def _volume(**options: Any) -> Method:
    return Method("class_volume", options)


def _power(power: float, shuffled: bool = False) -> Method:
    return Method("altered_volume", {"power": power}, shuffled=shuffled)


def _fitted(**options: Any) -> Method:
    return Method("altered_volume", {"fitted": True, **options})


_LETTER = {"counts": "dataset", "normalize": "dataset"}

SHAPES: Mapping[str, Method] = {
    "inverse": Method("inverse"),
    "en": Method("effective_number", {"beta": BETA}),
    "dv": _volume(),
    "bv": _volume(variant="bv"),
    "pv10": _volume(variant="pv", axes=10),
    "dv-s30": _volume(min_samples=30),
    "dv-debias": _volume(debias=True),
    "dv-mass": _volume(assign="mass"),
    "dv-shuffled": _power(1, shuffled=True),
    "dv-test": replace(_volume(), held_out=True),
    "r^-2": _power(-2),
    "r^2": _power(2),
    "r^4": _power(4),
    "r^4-shuffled": _power(4, shuffled=True),
    "dv-fitted": _fitted(),
    "bv-fitted": _fitted(variant="bv"),
    "r^4-fitted": _fitted(power=4),
    "inverse-dataset": Method("inverse", {"counts": "dataset"}),
    "dv-dataset": _volume(counts="dataset"),
    "inverse-letter": Method("inverse", _LETTER),
    "dv-letter": _volume(**_LETTER),
}

METHODS: Mapping[str, Method] = {  # `inverse-dataset adjusted` is balanced softmax
    "ce": Method(),
    **SHAPES,
    **{f"{name} adjusted": replace(method, form="adjusted") for name, method in SHAPES.items()},
    **{f"{name} post-hoc": replace(method, form="post_hoc") for name, method in SHAPES.items()},
    "inverse adjusted 1.5": replace(SHAPES["inverse"], form="adjusted", tau=1.5),
    "dv adjusted 1.5": replace(SHAPES["dv"], form="adjusted", tau=1.5),
}

_INFORMATION = ["inverse", "dv", "dv-shuffled", "dv-test", "r^-2", "r^2", "r^4", "r^4-shuffled"]
_ESTIMATORS = ["en", "bv", "dv-s30", "dv-debias"]
_READINGS = ["inverse-dataset", "dv-dataset", "inverse-letter", "dv-letter"]


def _forms(shapes: list[str], *forms: str) -> list[str]:
    return [f"{shape} {form}".strip() for form in forms for shape in shapes]


SETS: Mapping[str, list[str]] = {
    "all": [
        "ce",
        *_forms(_INFORMATION + _ESTIMATORS, "", "adjusted"),
        "pv10",  # slow: in one form only
        *_forms([*_INFORMATION, "bv"], "post-hoc"),
        "inverse adjusted 1.5",
        "dv adjusted 1.5",
    ],
    "readings": [
        "ce",
        *_forms(_INFORMATION[:3], "", "adjusted"),
        *_READINGS,
        *_forms(_READINGS[:2], "adjusted"),
        "dv-s30",
        "dv-debias",
    ],
    "core": [
        "ce",
        *_forms([*_INFORMATION[:4], "r^4", "en", "bv", "dv-s30"], ""),
        *_forms(_INFORMATION[:3], "adjusted"),
        *_forms(_INFORMATION, "post-hoc"),
    ],
    "few": ["ce", *_forms([*_INFORMATION[:4], "r^4", "dv-s30"], "", "adjusted"), *_forms(_INFORMATION, "post-hoc")],
    "language": [
        "ce",
        *_forms(_INFORMATION[:3], ""),
        "inverse-letter",
        "dv-letter",
        *_forms(_INFORMATION[:2], "adjusted"),
        *_forms([*_INFORMATION[:3], "dv-test"], "post-hoc"),
    ],
    "control": ["ce", *_forms(["inverse", "dv", "dv-fitted", "bv", "bv-fitted", "r^4", "r^4-fitted"], "", "adjusted")],
    "language-readings": ["ce", *_forms(_INFORMATION[:2], ""), *_READINGS, "dv-mass", "dv-s30"],
}
