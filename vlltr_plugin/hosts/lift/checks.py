"""`check` for LIFT: its main.py builds a trainer in a separate process, where the trainer is checked, not trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from vlltr_plugin.check import CheckResult, Checks, SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import checks
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.host import CheckRequest
from vlltr_plugin.hosts.lift.hook import apply, plan
from vlltr_plugin.hosts.lift.log import UNKEPT_OUTPUT
from vlltr_plugin.hosts.lift.trainer import class_counts, draws_of, forward_of, logits_of, number_of_classes


def run_checks(request: CheckRequest, say: Callable[[CheckResult], None]) -> Checks:
    """Checks a run of LIFT."""
    if request.config is not None:
        raise ReportError("Expected no CONFIG for LIFT: give main.py's arguments as --host-args.")
    arguments = [*request.host_args, *UNKEPT_OUTPUT]
    return checks.run_checks(request, say, arguments, f"{__name__}:check_trainer", "trainer")


def check_trainer(trainer: Any, *, send: Send, checkout: str) -> None:
    """Runs in the host's process: checks a trainer before training, and its re-weighting."""
    cfg = trainer.cfg
    run = checks.BuiltRun(
        config=f"{cfg.dataset}, loss_type {cfg.loss_type}, {cfg.num_epochs} epochs of batches of {cfg.batch_size}",
        sampler=trainer.train_loader.sampler,
        counts=partial(class_counts, trainer),
        draws=partial(draws_of, trainer),
        plan=partial(plan, trainer),
        apply=lambda planned: apply(planned, trainer),
        step=partial(_step, trainer),
    )
    checks.check_built_run(run, send)


def _step(trainer: Any) -> tuple[Tensor, Tensor]:
    """Logits and loss of a few training images."""
    loader = trainer.train_loader
    images, labels, *_ = next(iter(DataLoader(loader.dataset, checks.STEP, sampler=loader.sampler)))
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
    return logits, trainer.criterion(logits, labels.to(trainer.device))
