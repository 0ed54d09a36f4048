"""One door into a host: its own `main.py` runs in a process of its own, and `attach` does there what a command asks.

What the host has built from the user's arguments is what is checked or evaluated. The program ends where the training
would begin: nothing is trained, and the checkout stays as it is.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.install import InstallError, install

Message = dict[str, Any]
Send = Callable[[Message], None]
"""Sends a message of plain values to the command."""

CHILD = "from vlltr_plugin.hosts.door import run_main; run_main()"
STEPPED = "main.py began to train without calling the plug-in's `attach`: `vlltr-plugin status` says what is wrong."

_asked: list[Callable[..., NoReturn]] = []
"""What `attach` is to do in place of attaching; empty in every training run."""


def run_host(
    checkout: Path,
    host_args: list[str],
    task: tuple[str, Mapping[str, Any]],
    take: Send,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs main.py up to `attach`, which carries out a task with what main.py has built.

    Raises:
        ReportError: the task raised one, or main.py ended before it came to `attach`.
    """
    from vlltr_plugin.check.sandbox import sandbox

    name, request = task
    with (
        sandbox(checkout) as side,
        tempfile.TemporaryDirectory(prefix="vlltr-plugin-lines-") as lines,
        tempfile.TemporaryFile("w+", errors="replace") as said,
    ):
        _write_lines(checkout, Path(lines))
        command = [sys.executable, "-c", CHILD, name, json.dumps(request), str(checkout), lines, *host_args]
        variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
        process = subprocess.Popen(command, cwd=side, env=variables, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            ended = _listen(process, take)
        finally:
            process.kill()
            process.communicate()
        if ended is None:
            said.seek(0)
            last = said.read().strip().rpartition("\n")[2][:300] or "it said nothing"
            raise ReportError(f"Expected main.py to build what it trains and to train it but it did not: {last}")
    if ended:
        raise ReportError(ended)


def _write_lines(checkout: Path, folder: Path) -> None:
    """Writes those files at the top of the checkout that lack the plug-in's lines, with the lines.

    So a checkout without the plug-in can be looked at too. A file in a folder of it only carries the settings through.
    """
    try:
        report = install(checkout, dry_run=True)
    except InstallError as error:
        raise ReportError(str(error)) from error
    for change in report.changes:
        if change.path.parent == report.checkout and change.new is not None:
            (folder / change.path.name).write_bytes(change.new)


def _listen(process: subprocess.Popen[str], take: Send) -> str | None:
    """Hands on the messages; returns the error of the task, empty where there is none; None if it never ended."""
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        if "ended" in message:
            return str(message["ended"])
        take(message)
    return None


def enter(*parts: Any) -> None:
    """What every `attach` calls first: carries out the task of a command and ends the program.

    Does nothing in a training run.
    """
    if _asked:
        _asked.pop()(*parts)


def run_main() -> None:
    """In the process of its own: runs main.py as `python main.py` in the checkout would."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    task, request, checkout, lines, *arguments = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the host prints goes with its errors
    module, _, function = task.partition(":")
    _asked.append(partial(_carry_out, channel, module, function, json.loads(request)))
    register_optimizer_step_pre_hook(lambda *_: _end(channel, STEPPED))
    sys.path[:0] = [lines, checkout]
    sys.argv = ["main.py", *arguments]
    main = next(path for path in (Path(lines, "main.py"), Path(checkout, "main.py")) if path.is_file())
    runpy.run_path(str(main), run_name="__main__")


def _carry_out(channel: IO[str], module: str, function: str, request: Message, *parts: Any) -> NoReturn:
    try:
        getattr(importlib.import_module(module), function)(*parts, send=partial(_send, channel), **request)
    except (ReportError, OSError) as error:
        _end(channel, str(error))
    except Exception as error:  # the host's code may raise anything
        traceback.print_exc()
        reason = " ".join(str(error).split())[:300]
        _end(channel, f"The host's code failed: {type(error).__name__}: {reason}")
    _end(channel, "")


def _send(channel: IO[str], message: Message) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _end(channel: IO[str], error: str) -> NoReturn:
    _send(channel, {"ended": error})
    os._exit(0)  # nothing of what main.py does after training
