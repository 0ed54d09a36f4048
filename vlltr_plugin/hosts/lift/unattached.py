"""Refuses to train a run that asks for re-weighting but never calls `attach`.

So a checkout whose `main.py` trains another class than the one with the inserted lines, or whose `trainer.py` has lost
them, does not train a plain run under the name of a re-weighted one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from vlltr_plugin.training.settings import KEY

_handles: list[RemovableHandle] = []
"""Of the hook that looks at the first step of an optimizer; empty once `attach` was called."""


def expect_attach(node: Any) -> None:
    """Makes the first optimizer step a ValueError if `reweight.type` is set and `attach` was not called."""
    attached()
    looked: list[bool] = []

    def look(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if looked:  # a hook cannot be removed while hooks run
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
        looked.append(True)

    _handles.append(register_optimizer_step_pre_hook(look))


def attached() -> None:
    """Ends the waiting: `attach` was called, or another config takes the place of the one before."""
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
