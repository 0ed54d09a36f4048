"""`check` for LIFT: its main.py builds a trainer in a process of its own, where checks take the place of training.

So what is checked is what a run would use, whatever its arguments. Nothing is trained. What the host downloads itself
(CLIP, CIFAR) it downloads here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from vlltr_plugin.check.results import FAIL, CheckResult, Checks, SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.checks import STEP, add_from_host, check_installed, check_logits, finite_losses, sent
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.host import CheckRequest
from vlltr_plugin.hosts.lift.hook import apply, plan
from vlltr_plugin.hosts.lift.log import UNKEPT_OUTPUT
from vlltr_plugin.hosts.lift.trainer import class_counts, draws_of, forward_of, logits_of, number_of_classes
from vlltr_plugin.training.settings import KEY


def run_checks(request: CheckRequest, say: Callable[[CheckResult], None]) -> Checks:
    """Checks what a run of LIFT needs."""
    if request.config is not None:
        raise ReportError("Expected no CONFIG for LIFT: give main.py's arguments as --host-args.")
    checks, checkout = Checks(say), request.checkout.resolve()
    asked = any(argument.startswith(f"{KEY}.") for argument in request.host_args)
    checks.run("plug-in", partial(check_installed, checkout, asked))
    arguments = [*request.host_args, *UNKEPT_OUTPUT]
    try:
        add_from_host(checks, checkout, arguments, f"{__name__}:check_trainer")
    except ReportError as error:
        checks.add(CheckResult("trainer", FAIL, " ".join(str(error).split())))
    return checks


def check_trainer(trainer: Any, *, send: Send, checkout: str) -> None:
    """In the host's process: checks a trainer that is about to train; puts the re-weighting into it."""
    checks = sent(send)
    checks.run("config", partial(_check_config, trainer))
    checks.run("labels", partial(_check_labels, trainer))
    checks.run("sampler", partial(_check_sampler, trainer), needs=["labels"])
    checks.run("reweight", partial(_check_reweight, trainer), needs=["labels", "sampler"])
    checks.run("step", partial(_check_step, trainer), needs=["reweight"])


def _check_config(trainer: Any) -> str:
    cfg = trainer.cfg
    return f"{cfg.dataset}, loss_type {cfg.loss_type}, {cfg.num_epochs} epochs of batches of {cfg.batch_size}"


def _check_labels(trainer: Any) -> str:
    counts = class_counts(trainer)
    empty = int((counts == 0).sum())
    least, most = int(counts[counts > 0].min()), int(counts.max())
    none = f"; {empty} classes have none" if empty else ""
    return f"{int(counts.sum())} images of {len(counts)} classes, {least} to {most} each{none}"


def _check_sampler(trainer: Any) -> str:
    draws = draws_of(trainer)
    share = draws / draws.sum()
    name = type(trainer.train_loader.sampler).__name__
    return f"{name}: a class is {float(share[share > 0].min()):.2%} to {float(share.max()):.2%} of the draws"


def _check_reweight(trainer: Any) -> str:
    planned = plan(trainer)
    if planned is None:
        raise SkipError(f"no {KEY}.type: nothing is re-weighted")
    if never := planned.never_applies():
        raise ReportError(f"Expected weights that apply before the run ends, but {never}")
    apply(replace(planned, measure_first=False), trainer)  # a pass over all images
    return planned.announcement()


def _check_step(trainer: Any) -> str:
    loader = trainer.train_loader
    images, labels, *_ = next(iter(DataLoader(loader.dataset, STEP, sampler=loader.sampler)))
    trainer.tuner.train()
    try:
        output = forward_of(trainer)(images.to(trainer.device))
    except TypeError as error:
        raise SkipError(f"only the host's own loop can call its model: {error}") from error
    try:
        logits = logits_of(output, number_of_classes(trainer))
    except ValueError as error:  # `plan` refuses it where the radii are measured from the output
        raise SkipError(
            f"only the host's own loop can tell which part of the output goes into the loss: {error}"
        ) from error
    check_logits({"the": logits})
    loss = finite_losses([float(trainer.criterion(logits, labels.to(trainer.device)))])
    return f"{len(images)} images give {list(logits.shape)} finite logits, loss {loss}"
