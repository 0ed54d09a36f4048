"""The node `reweight` of LIFT's config, checked; a run that asks for re-weighting must call `attach`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from vlltr_plugin.core.arguments import check_choice
from vlltr_plugin.core.registry import WEIGHTINGS, option_names
from vlltr_plugin.training.settings import KEY, LOGIT_ADJUSTMENT, LOSS_WEIGHT, OWN, Settings, parse

FORMS = {"CE": (LOSS_WEIGHT, LOGIT_ADJUSTMENT), "LA": (LOGIT_ADJUSTMENT,)}
"""By the host's `loss_type`, the default first. LA is cross entropy with margins log n_i: class volume changes them to
log(n_i / r_i). To weight that loss as well would count n_i twice."""


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


def read(asked: dict[str, Any], loss_type: str) -> tuple[Settings, float, bool]:
    """The settings, the strength tau of margins, and whether the radii are measured before the first epoch.

    Raises:
        ValueError: for a loss_type that cannot be re-weighted, and for wrong keys and values.
    """
    if loss_type not in FORMS:
        raise ValueError(
            f"Expected loss_type CE (class weights) or LA (class margins) with reweight.type but got {loss_type!r}, "
            "which weighs the classes in a way of its own: give loss_type CE or LA, or leave reweight.type out."
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
            "what is measured before the first epoch would never apply."
        )
    return settings, 1.0 if tau is None else tau, bool(first)


_handles: list[RemovableHandle] = []
"""Of the hook on the first step of an optimizer; empty once `attach` was called."""


def expect_attach(node: Any) -> None:
    """Makes the first optimizer step a ValueError if `reweight.type` is set and `attach` was not called."""
    attached()
    checked: list[bool] = []

    def look(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if checked:  # a hook cannot be removed while hooks run
            return
        callers = list(_callers(sys._getframe(1)))
        asked = {str(found["type"]): None for found in [node, *_nodes(callers)] if found.get("type") is not None}
        if asked:
            where = f"{callers[0].f_code.co_filename}, line {callers[0].f_lineno},"
            raise ValueError(
                "Expected the training to call vlltr_plugin.hosts.lift.attach before the optimizer's first step, since "
                f"{KEY}.type is {next(iter(asked))!r}, but {where} makes a step without it: the run would be a plain "
                f"one. `vlltr-plugin status` tells which trainer has the lines; leave {KEY}.type out for a plain run."
            )
        checked.append(True)

    _handles.append(register_optimizer_step_pre_hook(look))


def attached() -> None:
    """Stops looking: `attach` was called, or another config takes the place of the one before."""
    while _handles:
        _handles.pop().remove()


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames outside of torch and this package, from the innermost on."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").split(".")[0] not in ("vlltr_plugin", "torch"):
            yield frame
        frame = frame.f_back


def _nodes(callers: list[FrameType]) -> Iterator[Any]:
    """The nodes `reweight` of the trainers whose methods are running."""
    for frame in callers:
        node = getattr(getattr(frame.f_locals.get("self"), "cfg", None), KEY, None)
        if isinstance(node, dict):
            yield node
