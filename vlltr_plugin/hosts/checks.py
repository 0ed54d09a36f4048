"""The part of `vlltr-plugin check` that is the same for every host: runs checks in the host's process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.check import CheckResult, Checks, SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send, describe_error, open_host
from vlltr_plugin.install import InstallError, State, status

STEP = 8
"""Images of the step that is tried."""


def add_from_host(checks: Checks, checkout: Path, arguments: list[str], task: str, **options: Any) -> None:
    """Adds the results of a task in the host's process; `options` as of `open_host`."""
    with open_host(checkout, arguments, (task, {"checkout": str(checkout)}), **options) as messages:
        for message in messages:
            checks.add(CheckResult(**message))


def sent(send: Send) -> Checks:
    """Checks whose results are sent to the command."""
    return Checks(lambda result: send(asdict(result)))


def check_installed(checkout: Path, asked: bool) -> str:
    """Whether the plug-in's lines are in the checkout; `asked` tells whether the run asks for re-weighting."""
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
    """Raises ReportError where rows of a model's logits, by their name, are not finite."""
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
