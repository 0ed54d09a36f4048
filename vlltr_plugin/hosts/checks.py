"""Shared part of `vlltr-plugin check`: the host's own program builds the run, and the checks run in its process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.check import FAIL, CheckResult, Checks, SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send, describe_error, open_host
from vlltr_plugin.hosts.host import CheckRequest
from vlltr_plugin.hosts.plan import Plan
from vlltr_plugin.install import InstallError, State, status
from vlltr_plugin.training.settings import KEY

STEP = 8
"""Number of images in the trial step."""


def run_checks(
    request: CheckRequest,
    say: Callable[[CheckResult], None],
    arguments: list[str],
    task: str,
    built: str,
    **door: Any,
) -> Checks:
    """Checks a run with a host's arguments; `built` names what its program builds before it calls `attach`."""
    checks, checkout = Checks(say), request.checkout.resolve()
    asked = any(argument.lstrip("-").startswith(KEY) for argument in request.host_args)
    checks.run("plug-in", partial(check_installed, checkout, asked))
    try:
        add_from_host(checks, checkout, arguments, task, **door)
    except ReportError as error:
        checks.add(CheckResult(built, FAIL, " ".join(str(error).split())))
    return checks


def add_from_host(checks: Checks, checkout: Path, arguments: list[str], task: str, **options: Any) -> None:
    """Adds the results of a task in the host's process; `options` are those of `open_host`."""
    with open_host(checkout, arguments, (task, {"checkout": str(checkout)}), **options) as messages:
        for message in messages:
            checks.add(CheckResult(**message))


def sent(send: Send) -> Checks:
    """Checks whose results are sent to the command."""
    return Checks(lambda result: send(asdict(result)))


@dataclass(frozen=True)
class BuiltRun:
    """The parts of a run built before training; its functions raise errors that `Checks.run` handles."""

    config: str  # the run in a few words
    sampler: Any  # the training sampler
    counts: Callable[[], Tensor]  # training images of each class, [C]
    draws: Callable[[], Tensor]  # expected draws of each class, up to a common factor, [C]
    plan: Callable[[], Plan | None]
    apply: Callable[[Plan], Any]  # puts the plan's criterion into the run
    step: Callable[[], tuple[Tensor, Tensor]]  # logits and loss of a step with a few images


def check_built_run(run: BuiltRun, send: Send) -> None:
    """In the host's process: checks labels, sampler, re-weighting and one step. Nothing is trained."""
    checks = sent(send)
    checks.run("config", lambda: run.config)
    checks.run("labels", partial(_check_labels, run))
    checks.run("sampler", partial(_check_sampler, run), needs=["labels"])
    checks.run("reweight", partial(_check_reweight, run), needs=["labels", "sampler"])
    checks.run("step", partial(_check_step, run), needs=["reweight"])


def _check_labels(run: BuiltRun) -> str:
    counts = run.counts()
    empty = int((counts == 0).sum())
    least, most = int(counts[counts > 0].min()), int(counts.max())
    none = f"; classes without images: {empty}" if empty else ""
    return f"{int(counts.sum())} images of {len(counts)} classes, {least} to {most} each{none}"


def _check_sampler(run: BuiltRun) -> str:
    draws = run.draws()
    share = draws / draws.sum()
    least, most = float(share[share > 0].min()), float(share.max())
    return f"{type(run.sampler).__name__}: a class is {least:.2%} to {most:.2%} of the draws"


def _check_reweight(run: BuiltRun) -> str:
    planned = run.plan()
    if planned is None:
        raise SkipError(f"no {KEY} type: nothing is re-weighted")
    if never := planned.never_applies():
        raise ReportError(f"Expected weights that apply before the run ends, but {never}")
    run.apply(replace(planned, measure_first=False))  # which would take a pass over all images
    return planned.announcement()


def _check_step(run: BuiltRun) -> str:
    logits, loss = run.step()
    check_logits({"the": logits})
    return f"{len(logits)} images give {list(logits.shape)} finite logits, loss {finite_losses([float(loss)])}"


def check_installed(checkout: Path, asked: bool) -> str:
    """Checks that the plug-in's lines are in the checkout; `asked` is True if the run asks for re-weighting."""
    try:
        found = status(checkout)
    except InstallError as error:
        raise ReportError(str(error)) from error
    if found.fits:
        return f"installed, version {' and '.join(found.versions)}"
    if found.state is State.ABSENT and not asked:
        raise SkipError("not installed; this run asks for no re-weighting")
    problems = f" ({'; '.join(found.problems)})" if found.problems else ""
    raise ReportError(
        f"Expected the plug-in in the checkout but it is {found.state.value}{problems}: `vlltr-plugin install` it, "
        "else nothing is re-weighted."
    )


def check_logits(outputs: dict[str, Tensor], hint: str = "") -> None:
    """Raises ReportError if rows of the logits called `name` are not finite."""
    for name, logits in outputs.items():
        if bad := int((~logits.detach().isfinite().all(dim=1)).sum()):
            raise ReportError(f"Expected finite logits but {bad} of {len(logits)} rows of {name} logits are not{hint}.")


def finite_losses(losses: Sequence[float]) -> str:
    """The losses in words; ReportError if one is not finite."""
    text = " + ".join(f"{loss:.4g}" for loss in losses)
    if not all(map(math.isfinite, losses)):
        raise ReportError(f"Expected a finite loss but got {text}.")
    return text


def check_device(name: str) -> None:
    """Raises ReportError if this machine has no device of that name."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ReportError(f"Expected a device of this machine but got {name!r} ({reason}).") from error


@contextmanager
def host_code() -> Iterator[None]:
    """Turns whatever the host's code raises into a ReportError of one line."""
    try:
        yield
    except Exception as error:
        raise ReportError(describe_error(error)) from error
