"""Model, criterion and sampler as the host's own `main` builds them, and the plug-in attached to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

import vlltr_plugin
from vlltr_plugin.check.results import SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.attach import apply
from vlltr_plugin.hosts.vl_ltr.branches import BRANCHES
from vlltr_plugin.hosts.vl_ltr.checkout_modules import said_by_host
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned
from vlltr_plugin.hosts.vl_ltr.checks.stage_one import refuse_unfilled
from vlltr_plugin.hosts.vl_ltr.plan import plan
from vlltr_plugin.hosts.vl_ltr.trained_model import build_model
from vlltr_plugin.install import State, status
from vlltr_plugin.training.hook import Hook, NoHook
from vlltr_plugin.training.settings import asked, misspelling, parse


class _Reached(BaseException):
    """`main` has called `attach`; no `except Exception` of the host may hold it up."""


def look_at_model(run: Planned) -> str:
    """Builds the model with the host's code, and keeps it."""
    model = build_model(run.args, run.data_sets["train"])
    refuse_unfilled(run, model)
    run.model = model
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    whole = sum(parameter.numel() for parameter in model.parameters())
    return f"{run.args.model}: {whole / 1e6:.1f} million parameters, {trained / 1e6:.1f} of them trained"


def look_at_main(run: Planned) -> str:
    """Runs the host's `main` until it calls `attach`, and keeps what it has built by then."""
    if status(run.checkout).state is not State.INSTALLED:
        raise SkipError("needs the plug-in's lines in main.py")  # there it stops, and does not train
    model, main = run.model, run.modules["main"]

    def attach(args: Any, **parts: Any) -> Hook:
        run.parts = parts
        raise _Reached

    resume, run.args.resume = getattr(run.args, "resume", ""), ""  # the output folder has a look of its own

    def never(*_: Any, **__: Any) -> None:  # if `attach` should not be called: nothing is trained, nothing saved
        raise _Reached

    built = {
        "build_dataset": lambda split, args: (run.data_sets[split], run.classes),
        "create_model": lambda *_, **__: model,
        "train_one_epoch": never,
    }
    try:
        with (
            said_by_host("building sampler, criterion and optimizer"),
            _in_place(vlltr_plugin, {"attach": attach}),
            _in_place(torch, {"save": never}),
            _in_place(main, built),
        ):
            main.main(run.args)
    except _Reached:
        pass
    finally:
        run.args.resume = resume
    if not run.parts:
        raise ReportError("Expected main.py to call vlltr_plugin.attach but it did not: install the plug-in again.")
    criterion = run.parts["criterion"]
    named = run.parts["sampler"], getattr(criterion, "base_criterion", criterion)
    sampler, base = (type(part).__name__ for part in named)
    return f"{sampler}, {base}, {'no ' if run.parts.get('mixup') is None else ''}mixup or cutmix"


def look_at_reweight(run: Planned) -> str:
    """Reads the `reweight` key, and plans what `attach` will do."""
    args, parts = run.args, run.parts
    if asked(args) is None:
        if sentence := misspelling(args):
            raise ReportError(sentence)
        run.hook = NoHook() if parts else None
        raise SkipError("the config asks for no `reweight`: nothing is re-weighted")
    parse(asked(args), BRANCHES if getattr(args, "two_branch", False) else ())
    if not parts:
        raise SkipError("its keys are known; whether it fits sampler and criterion could not be tried yet")
    args.reweight = asked(args)
    run.plan = plan(args, **parts)
    run.hook = apply(run.plan, args, parts["model"], parts["criterion"])
    form = ", as logit adjustment" if run.plan.settings.adjusts else ""
    return run.plan.settings.type + run.plan.source() + form


@contextmanager
def _in_place(module: ModuleType, names: dict[str, Any]) -> Iterator[None]:
    """Puts other objects under names that a module has."""
    before = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name in before:
        setattr(module, name, names[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
