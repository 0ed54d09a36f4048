"""The methods by name: a weighting of the product, what it learns its radii from, and how the weights are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from frozen_tower_data import Data
from torch import Tensor

from vlltr_plugin import ClassVolume, Weighting, build_weighting, register_weighting
from vlltr_plugin.core.frequency import FrequencyWeighting

BETA = 0.9999


@register_weighting("altered_volume")
class AlteredVolume(ClassVolume):
    """Class volume with alpha_i ~ r_i^power / n_i, to see what the radii are worth.

    `shuffle` is the seed of a permutation of the radii among the classes, the placebo. With `fitted` log radii are
    replaced by their least-squares line in log n, so that alpha is a plain power of n, as flat or steep as the radii
    make it: the control.
    """

    def __init__(
        self, *counts: Any, power: float = 1.0, shuffle: int | None = None, fitted: bool = False, **options: Any
    ) -> None:
        super().__init__(*counts, **options)
        self.power, self.fitted = power, fitted
        self.origin = torch.arange(self.num_classes)
        if shuffle is not None:
            self.origin = torch.randperm(self.num_classes, generator=torch.Generator().manual_seed(shuffle))

    def radii(self) -> Tensor | None:
        found = super().radii()
        if found is None:
            return None
        if self.fitted:
            x = self.class_counts.double().log()
            x = x - x.mean()
            found = found.mean() + (x * found).sum() / x.square().sum() * x
        return self.power * found[self.origin]


@register_weighting("feature_radius")
class FeatureRadius(FrequencyWeighting):
    """alpha_i ~ r_i^g / n_i with `Data.feature_log_radius` in the place of the logits' radii: known before training."""

    def __init__(self, *counts: Any, log_radius: Tensor, power: float = 1.0, **options: Any) -> None:
        self._scaled = power * log_radius
        super().__init__(*counts, **options)

    def log_shape(self, counts: Tensor) -> Tensor:
        return self._scaled


@dataclass(frozen=True)
class Method:
    """How one row of the tables is trained.

    Its form is `"weights"` (alpha times the loss), `"adjusted"` (cross entropy of logits - tau log alpha), or
    `"post_hoc"` (the ce run's test logits + tau log alpha: no training of its own).
    """

    weighting: str = "none"  # name in the product's registry
    options: Mapping[str, Any] = field(default_factory=dict)
    form: str = "weights"
    tau: float = 1.0
    start: int | None = None  # first epoch of weights; of radii in margins (all equal before); None: the second half
    deferred: bool = False  # the margins, too, apply in the second half only: before, it trains as ce
    held_out: bool = False  # the radii come from test images, after every epoch, instead of the training pass
    shuffled: bool = False  # the radii are permuted among the classes, another permutation for every seed

    @property
    def warm_up(self) -> str:
        """Methods with the same warm-up train alike in the first half."""
        if self.start is not None:
            return repr(self)
        if self.form != "adjusted" or self.deferred:
            return "plain"
        if self.weighting == "inverse" or "volume" in self.weighting:
            return repr((self.options.get("counts", "sampler"), self.tau))
        return repr((self.weighting, self.options, self.tau))

    def build(self, data: Data, start_epoch: int) -> Weighting:
        """The product's weighting for one run whose second half begins with `start_epoch`."""
        options = dict(self.options)
        if self.weighting != "none" and (self.form == "weights" or "volume" in self.weighting):
            options["start_epoch"] = start_epoch if self.start is None else self.start
        if self.shuffled:
            options["shuffle"] = data.seed
        if self.weighting == "feature_radius":
            options["log_radius"] = data.feature_log_radius
        return build_weighting(self.weighting, data.class_counts, data.draws, **options)


def _volume(**options: Any) -> Method:
    return Method("class_volume", options)


def _altered(shuffled: bool = False, **options: Any) -> Method:
    return Method("altered_volume", options, shuffled=shuffled)


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
    "dv-shuffled": _altered(shuffled=True),
    "dv-test": replace(_volume(), held_out=True),
    **{f"r^{power}": _altered(power=power) for power in (-2, 2, 4)},
    "r^4-shuffled": _altered(power=4, shuffled=True),
    "dv-fitted": _altered(fitted=True),
    "bv-fitted": _altered(fitted=True, variant="bv"),
    "r^4-fitted": _altered(fitted=True, power=4),
    "features": Method("feature_radius"),
    "features^4": Method("feature_radius", {"power": 4}),
    "inverse-dataset": Method("inverse", {"counts": "dataset"}),
    "dv-dataset": _volume(counts="dataset"),
    "inverse-letter": Method("inverse", _LETTER),
    "dv-letter": _volume(**_LETTER),
}

STARTS = (("inverse", 0), ("inverse", 1), ("dv", 1))
MARGIN_TAUS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
"""Of the margins that `frozen_tower_grid.py` tunes."""


def _margins(name: str, **others: Any) -> Method:
    return replace(SHAPES[name], form="adjusted", **others)


METHODS: Mapping[str, Method] = {  # `inverse-dataset adjusted` is balanced softmax
    "ce": Method(),
    **SHAPES,
    **{f"{name} adjusted": _margins(name) for name in SHAPES},
    **{f"{name} post-hoc": replace(method, form="post_hoc") for name, method in SHAPES.items()},
    **{f"{name} adjusted 1.5": _margins(name, tau=1.5) for name in ("inverse", "dv")},
    **{f"{name} from {start}": replace(SHAPES[name], start=start) for name, start in STARTS},
    "dv adjusted from 1": _margins("dv", start=1),
    **{f"{name} adjusted late": _margins(name, deferred=True) for name in ("inverse", "dv")},
    **{f"{name} adjusted tau {tau:g}": _margins(name, tau=tau) for name in ("inverse", "dv") for tau in MARGIN_TAUS},
}

_INFORMATION = ["inverse", "dv", "dv-shuffled", "dv-test", "r^-2", "r^2", "r^4", "r^4-shuffled"]
_READINGS = ["inverse-dataset", "dv-dataset", "inverse-letter", "dv-letter"]


def _forms(shapes: list[str], *forms: str) -> list[str]:
    return [f"{shape} {form}".strip() for form in forms for shape in shapes]


_ADDED: Mapping[str, list[str]] = {
    "all": [
        *_forms([*_INFORMATION, "en", "bv", "dv-s30", "dv-debias"], "", "adjusted"),
        "pv10",  # slow: in one form only
        *_forms([*_INFORMATION, "bv"], "post-hoc"),
        *_forms(["inverse", "dv"], "adjusted 1.5"),
    ],
    "readings": [
        *_forms(_INFORMATION[:3], "", "adjusted"),
        *[*_READINGS, *_forms(_READINGS[:2], "adjusted"), "dv-s30", "dv-debias"],
    ],
    "core": [
        *_forms([*_INFORMATION[:4], "r^4", "en", "bv", "dv-s30"], ""),
        *_forms(_INFORMATION[:3], "adjusted"),
        *_forms(_INFORMATION, "post-hoc"),
    ],
    "few": [*_forms([*_INFORMATION[:4], "r^4", "dv-s30"], "", "adjusted"), *_forms(_INFORMATION, "post-hoc")],
    "language": [
        *[*_INFORMATION[:3], *_READINGS[2:]],
        *[*_forms(_INFORMATION[:2], "adjusted"), *_forms(_INFORMATION[:4], "post-hoc")],
    ],
    "language-readings": [*_INFORMATION[:2], *_READINGS, "dv-mass", "dv-s30"],
    "control": _forms(["inverse", "dv", "dv-fitted", "bv", "bv-fitted", "r^4", "r^4-fitted"], "", "adjusted"),
    "starts": [
        *_forms(["inverse", "dv"], "", "from 1", "adjusted", "adjusted late"),
        *["inverse from 0", "dv adjusted from 1"],
    ],
    "random": [*_forms(_INFORMATION[:3], "", "adjusted"), "inverse post-hoc"],
    "breadth": _forms(["inverse", "dv", "bv", "r^4", "features", "features^4"], "", "adjusted"),
    "grid": [
        *_forms(["inverse", "dv"], "", "from 1", *(f"adjusted tau {tau:g}" for tau in MARGIN_TAUS)),
        *["inverse from 0", "inverse adjusted late"],
    ],
}

SETS = {name: ["ce", *methods] for name, methods in _ADDED.items()}
"""Lists of methods that are trained together."""
