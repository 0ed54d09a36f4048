"""The node `reweight` of LIFT's config, checked; a run that asks for re-weighting must call `attach`."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from vlltr_plugin.core.arguments import check_choice
from vlltr_plugin.core.registry import WEIGHTINGS, option_names
from vlltr_plugin.training.settings import KEY, LOGIT_ADJUSTMENT, LOSS_WEIGHT, OWN, Settings, parse

FORMS = {"CE": (LOSS_WEIGHT, LOGIT_ADJUSTMENT), "LA": (LOGIT_ADJUSTMENT,)}
"""By the host's `loss_type`, the default first. LA is cross entropy with margins log n_i; class volume changes them to
log(n_i / r_i). Class weights on top of that loss would count n_i twice."""


def config_node() -> Any:
    """The node for the host's `_C`, a yacs `CfgNode`: all keys of `reweight`, None each, `type` among them.

    With it, yacs accepts `reweight.type class_volume reweight.start_epoch 0` on the command line and in YAML, and
    reports unknown keys. The options of your own weighting (`register_weighting`) are included if it is registered
    before. If a type is set, the first step of an optimizer without `attach` raises a ValueError.
    """
    from yacs.config import CfgNode

    options = [name for weighting in WEIGHTINGS.values() for name in option_names(weighting)]
    node = CfgNode(dict.fromkeys(["type", *OWN, "tau", "measure_first", *options]))
    expect_attach(node)
    return node


def given(cfg: Any) -> dict[str, Any]:
    """The keys of the node that were set, as plain values; empty in a config without the node."""
    return {key: value for key, value in (getattr(cfg, KEY, None) or {}).items() if value is not None}


def read(asked: dict[str, Any], loss_type: str) -> tuple[Settings, float, bool]:
    """The settings, tau of the margins, whether the radii are measured before the first epoch; ValueError if wrong."""
    if loss_type not in FORMS:
        raise ValueError(
            f"Expected loss_type CE (class weights) or LA (class margins) with reweight.type but got {loss_type!r}, "
            "which weights the classes itself: give loss_type CE or LA, or leave reweight.type out."
        )
    asked = dict(asked)
    tau, first = asked.pop("tau", None), asked.pop("measure_first", False)
    check_choice("reweight.measure_first", first, (False, True))
    settings = parse({"form": FORMS[loss_type][0], **asked})
    check_choice(f"reweight.form with loss_type {loss_type}", settings.form, FORMS[loss_type])
    if settings.form == LOGIT_ADJUSTMENT:
        settings.options.setdefault("counts", "dataset")  # as LA: n_i, whatever the sampler
    elif tau is not None:
        raise ValueError(f"Expected reweight.tau with reweight.form {LOGIT_ADJUSTMENT} only but got {tau!r}.")
    if first and not WEIGHTINGS[settings.type].uses_logits:
        raise ValueError(
            f"Expected reweight.measure_first with a type that reads logits only but got {settings.type!r}: its "
            "weights are known before training, and apply from reweight.start_epoch on."
        )
    if first and settings.options.setdefault("start_epoch", 0) != 0:
        raise ValueError(
            f"Expected reweight.start_epoch 0 with reweight.measure_first but got {settings.options['start_epoch']!r}: "
            "radii measured before the first epoch would never apply."
        )
    return settings, 1.0 if tau is None else tau, bool(first)


_handles: list[RemovableHandle] = []
"""Handle of the hook on an optimizer's first step; empty after `attach`."""


def expect_attach(node: Any) -> None:
    """Makes the first optimizer step a ValueError if `reweight.type` is set and `attach` was not called."""
    attached()
    checked: list[bool] = []

    def look(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if checked:  # a hook cannot be removed while hooks run
            return
        frames = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]  # innermost first
        callers = [frame for frame in frames if frame.f_globals.get("__name__", "").split(".")[0] not in INSIDE]
        trainers = [frame.f_locals.get("self") for frame in callers]  # whose methods are running
        nodes = [node, *(getattr(getattr(trainer, "cfg", None), KEY, None) for trainer in trainers)]
        asked = [found["type"] for found in nodes if isinstance(found, dict) and found.get("type") is not None]
        if asked:
            raise ValueError(
                "Expected the training to call vlltr_plugin.hosts.lift.attach before the optimizer's first step, since "
                f"{KEY}.type is {str(asked[0])!r}, but {callers[0].f_code.co_filename}, line {callers[0].f_lineno}, "
                "makes a step without it: the run would not be re-weighted. `vlltr-plugin status` says which trainer "
                f"has the lines; leave {KEY}.type out for a run without re-weighting."
            )
        checked.append(True)

    _handles.append(register_optimizer_step_pre_hook(look))


def attached() -> None:
    """Removes the hook: `attach` was called, or a new config replaces the one before."""
    while _handles:
        _handles.pop().remove()


INSIDE = ("vlltr_plugin", "torch")
"""Packages whose stack frames are skipped to find the training's own."""
