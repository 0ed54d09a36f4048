"""The node `reweight` of LIFT's config, checked."""

from dataclasses import dataclass
from typing import Any

from vlltr_plugin.core.arguments import check_choice
from vlltr_plugin.core.registry import WEIGHTINGS, option_names
from vlltr_plugin.hosts.lift.unattached import expect_attach
from vlltr_plugin.training.settings import KEY, LOGIT_ADJUSTMENT, LOSS_WEIGHT, OWN, Settings, parse

FORMS = {"CE": (LOSS_WEIGHT, LOGIT_ADJUSTMENT), "LA": (LOGIT_ADJUSTMENT,)}
"""By the host's `loss_type`, the default first. LA is cross entropy with margins log n_i: class volume changes them to
log(n_i / r_i). To weight that loss as well would count n_i twice."""


@dataclass(frozen=True)
class LiftSettings:
    """What the node says.

    Attributes:
        common: what every host has.
        tau: strength of the margins.
        measure_first: whether the radii are measured before the first epoch, in one pass over the training set without
            augmentation, so that they apply from the start.
    """

    common: Settings
    tau: float
    measure_first: bool


def config_node() -> Any:
    """The node for the host's `_C`, a yacs `CfgNode`: all keys of `reweight`, None each, `type` among them.

    So yacs takes `reweight.type class_volume reweight.start_epoch 0` from the command line and from YAML, and names a
    key that does not exist. Options of a weighting of your own (`register_weighting`) are there if it is registered
    before. Once a type is set, an optimizer's first step without `attach` is a ValueError.
    """
    from yacs.config import CfgNode

    options = [name for weighting in WEIGHTINGS.values() for name in option_names(weighting)]
    node = CfgNode(dict.fromkeys(["type", *OWN, "tau", "measure_first", *options]))
    expect_attach(node)
    return node


def given(cfg: Any) -> dict[str, Any]:
    """The keys of the node that were set, as plain values; empty in a config without the node."""
    return {key: value for key, value in (getattr(cfg, KEY, None) or {}).items() if value is not None}


def read(asked: dict[str, Any], loss_type: str) -> LiftSettings:
    """Checks the keys.

    Raises:
        ValueError: for a loss_type that cannot be re-weighted, unknown keys and values, and keys that do not go
            together.
    """
    if loss_type not in FORMS:
        raise ValueError(
            f"Expected loss_type CE (class weights) or LA (class margins) with reweight.type but got {loss_type!r}, "
            "which weighs the classes in a way of its own: give loss_type CE or LA, or leave reweight.type out."
        )
    asked = dict(asked)
    tau, first = asked.pop("tau", None), asked.pop("measure_first", False)
    check_choice("reweight.measure_first", first, (False, True))
    common = parse({"form": FORMS[loss_type][0], **asked})
    check_choice(f"reweight.form with loss_type {loss_type}", common.form, FORMS[loss_type])
    if common.form == LOGIT_ADJUSTMENT:
        common.options.setdefault("counts", "dataset")  # as LA: n_i, whatever the sampler
    elif tau is not None:
        raise ValueError(f"Expected reweight.tau with reweight.form {LOGIT_ADJUSTMENT} only but got {tau!r}.")
    if first and not WEIGHTINGS[common.type].uses_logits:
        raise ValueError(
            f"Expected reweight.measure_first with a type that reads logits only but got {common.type!r}: its weights "
            "are known before training, and apply from reweight.start_epoch on."
        )
    if first and common.options.setdefault("start_epoch", 0) != 0:
        raise ValueError(
            f"Expected reweight.start_epoch 0 with reweight.measure_first but got {common.options['start_epoch']!r}: "
            "what is measured before the first epoch would never apply."
        )
    return LiftSettings(common, 1.0 if tau is None else tau, bool(first))
