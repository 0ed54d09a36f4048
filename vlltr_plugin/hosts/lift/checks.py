"""`check` for LIFT: its main.py builds a trainer in a process of its own, where looks take the place of training.

So what is looked at is what a run would use, whatever its arguments. Nothing is trained; the output folder is a
temporary one. What the host downloads itself (CLIP, CIFAR) it downloads here as well.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from vlltr_plugin.check.results import CheckResult, Checks, SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send, run_host
from vlltr_plugin.install import State, status
from vlltr_plugin.training.settings import KEY

STEP = 8
"""Images of the step."""


def run_checkup(checkout: Path, host_args: list[str], say: Callable[[CheckResult], None]) -> Checks:
    """Looks at what a run of LIFT needs."""
    lines = Checks(say)
    checkout = checkout.resolve()
    lines.look("plug-in", partial(_look_at_installation, checkout, host_args))
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-check-") as folder:
        arguments = [*host_args, "output_dir", str(Path(folder) / "output")]
        task: tuple[str, dict[str, Any]] = ("vlltr_plugin.hosts.lift.checks:look_through_door", {})
        lines.look_elsewhere("trainer", partial(run_host, checkout, arguments, task))
    return lines


def _look_at_installation(checkout: Path, host_args: list[str]) -> str:
    found = status(checkout)
    if found.fits:
        return f"installed, version {' and '.join(found.versions)}"
    if found.state is State.ABSENT and not any(arg.startswith(f"{KEY}.") for arg in host_args):
        raise SkipError("not installed; these arguments ask for no re-weighting")
    problems = f" ({'; '.join(found.problems)})" if found.problems else ""
    raise ReportError(f"Expected the plug-in in the checkout but it is {found.state.value}{problems}: install it.")


def look_through_door(trainer: Any, send: Send) -> None:
    """The task of `check` where `attach` is called."""
    look_at_all(trainer, lambda line: send(asdict(line)))


def look_at_all(trainer: Any, say: Callable[[CheckResult], None] = lambda line: None) -> Checks:
    """All looks at a trainer that is about to train; puts the re-weighting into it."""
    lines = Checks(say)
    lines.look("config", partial(_look_at_config, trainer))
    lines.look("labels", partial(_look_at_labels, trainer))
    lines.look("sampler", partial(_look_at_sampler, trainer), needs=["labels"])
    lines.look("reweight", partial(_look_at_reweight, trainer), needs=["labels", "sampler"])
    lines.look("step", partial(_look_at_step, trainer), needs=["reweight"])
    return lines


def _look_at_config(trainer: Any) -> str:
    cfg = trainer.cfg
    return f"{cfg.dataset}, loss_type {cfg.loss_type}, {cfg.num_epochs} epochs of batches of {cfg.batch_size}"


def _counts(trainer: Any) -> Any:
    from vlltr_plugin.hosts.lift.plan import number_of_classes
    from vlltr_plugin.training.draws import class_counts_of

    return class_counts_of(trainer.train_loader.dataset.labels, number_of_classes(trainer))


def _look_at_labels(trainer: Any) -> str:
    if not hasattr(trainer.train_loader.dataset, "labels"):
        raise ReportError("Expected the training set to hold one label an image as `labels`, as LIFT's do.")
    counts = _counts(trainer)
    empty = int((counts == 0).sum())
    least, most = int(counts[counts > 0].min()), int(counts.max())
    none = f"; {empty} classes have none" if empty else ""
    return f"{int(counts.sum())} images of {len(counts)} classes, {least} to {most} each{none}"


def _look_at_sampler(trainer: Any) -> str:
    from vlltr_plugin.hosts.lift.trainer import draws_of

    counts = _counts(trainer)
    draws = draws_of(trainer.train_loader, trainer.train_loader.dataset.labels, len(counts))
    share = draws / draws.sum()
    name = type(trainer.train_loader.sampler).__name__
    return f"{name}: a class is {float(share[share > 0].min()):.2%} to {float(share.max()):.2%} of the draws"


def _look_at_reweight(trainer: Any) -> str:
    from vlltr_plugin.hosts.lift.hook import apply
    from vlltr_plugin.hosts.lift.plan import plan

    planned = plan(trainer)
    if planned is None:
        raise SkipError(f"no {KEY}.type: nothing is re-weighted")
    if planned.first_epoch >= planned.epochs and planned.settings.common.type != "none":
        raise ReportError(planned.announcement())
    said = planned.announcement()
    apply(replace(planned, settings=replace(planned.settings, measure_first=False)), trainer)  # a pass over all images
    return said


def _look_at_step(trainer: Any) -> str:
    from torch.utils.data import DataLoader

    from vlltr_plugin.hosts.lift.plan import number_of_classes
    from vlltr_plugin.hosts.lift.trainer import forward_of, logits_of

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
    if not bool(logits.isfinite().all()):
        raise ReportError(f"Expected finite logits {list(logits.shape)} but some are not.")
    loss = float(trainer.criterion(logits, labels.to(trainer.device)))
    if not math.isfinite(loss):
        raise ReportError(f"Expected a finite loss but got {loss}.")
    return f"{len(images)} images give {list(logits.shape)} finite logits, loss {loss:.4g}"
