"""Runs a host's own program in a separate process, in which `attach` carries out the task of a command.

The command checks or evaluates what the host has built from the user's arguments. The program ends before the training
begins: nothing is trained, and the checkout does not change.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

import numpy as np

from vlltr_plugin.errors import InstallError, ReportError

Message = dict[str, Any]
Send = Callable[[Message], None]
"""Sends a message of plain values and arrays to the command."""

CHILD = "from vlltr_plugin.hosts.door import run_main; run_main()"
STEPPED = "{} began to train without calling the plug-in's `attach`: run `vlltr-plugin status` to see why."


@contextmanager
def open_host(
    checkout: Path,
    arguments: list[str],
    task: tuple[str, Mapping[str, Any]],
    *,
    written: tuple[str, ...] = (),
    safe_pickle: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Iterator[Message]]:
    """Runs the host's program up to `attach`, which runs a task on what the program has built; yields its messages.

    A task is "module:function" and its keyword arguments. It is called as `function(*parts, send=..., **request)`,
    where `parts` is what `attach` passes to `enter`. If the program raises an error before that, `function_failed(
    error, frames, send=..., **request)` is called if the module defines it. The program is the script that holds the
    plug-in's lines, or makes the class that holds them; in a checkout without lines the host's usual one.
    Reading the messages raises a ReportError if the task raised one, or if the program ended before it called `attach`.
    """
    from vlltr_plugin.check.sandbox import safe_environment, side_folder

    with (
        side_folder(checkout, written) as side,
        tempfile.TemporaryDirectory(prefix="vlltr-plugin-lines-") as lines,
        tempfile.TemporaryFile() as printed,
    ):
        script = _write_lines(checkout, Path(lines))
        order = {"task": task, "checkout": str(checkout), "lines": lines, "safe_pickle": safe_pickle, "script": script}
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(order), *arguments],
            cwd=side,
            env=safe_environment() | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=printed,
        )
        try:
            yield _messages(process, printed, script)
        finally:
            process.kill()
            process.communicate()


def _write_lines(checkout: Path, folder: Path) -> str:
    """Writes copies of the files at the top of the checkout that lack the plug-in's lines, with these lines inserted.

    This allows checking a checkout without the plug-in. Files in subfolders only pass settings on and are not copied.
    Returns the script to run.
    """
    from vlltr_plugin.install import install, starting_scripts  # what a training program does not need

    try:
        report = install(checkout, dry_run=True)
    except InstallError as error:
        raise ReportError(str(error)) from error
    for change in report.changes:
        if change.path.parent == report.checkout and change.new is not None:
            (folder / change.path.name).write_bytes(change.new)
    scripts = starting_scripts(report.checkout, report.recipe)
    if len(scripts) > 1:
        raise ReportError(
            f"Expected one program with the plug-in's lines in {checkout} but {' and '.join(scripts)} have them: "
            "uninstall, then install with `--file` for the one that you train with."
        )
    if not (report.checkout / scripts[0]).is_file():
        raise ReportError(f"Expected {scripts[0]}, which starts the training, in {checkout} but there is no such file.")
    return scripts[0]


def _messages(process: subprocess.Popen[bytes], printed: IO[bytes], script: str) -> Iterator[Message]:
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        for name, dtype, shape in message.pop("arrays", ()):
            data = process.stdout.read(int(np.prod(shape)) * np.dtype(dtype).itemsize)
            message[name] = np.frombuffer(bytearray(data), dtype).reshape(shape)
        if "ended" not in message:
            yield message
        elif message["ended"]:
            raise ReportError(message["ended"])
        else:
            return
    printed.seek(0)
    last = printed.read().decode(errors="replace").strip().rpartition("\n")[2][:300] or "it printed nothing"
    code = process.wait()
    if code == 2:  # argparse
        raise ReportError(f"The host's own parser refused its arguments ({last}).")
    if code == 0:
        raise ReportError(
            f"Expected arguments with which {script} trains but with these it ends normally without training: leave "
            "out those of a run that only tests."
        )
    raise ReportError(f"Expected {script} to build its model and to begin to train but it did not: {last}")


class _Task:
    """Runs in the host's process: the task that `attach` performs instead of attaching."""

    def __init__(self, channel: IO[bytes], task: tuple[str, Message]) -> None:
        (name, self._request), self._channel = task, channel
        self._module, _, self._function = name.partition(":")
        self.release: Callable[[], None] = lambda: None  # see `restrict`

    def attached(self, *parts: Any) -> NoReturn:
        self._carry_out(getattr(importlib.import_module(self._module), self._function), parts)

    def failed(self, error: Exception, frames: list[FrameType]) -> NoReturn:
        """Called when the program fails, or starts to train, without having called `attach`."""
        handler = getattr(importlib.import_module(self._module), f"{self._function}_failed", _raise)
        self._carry_out(handler, (error, frames))

    def _carry_out(self, function: Callable[..., None], parts: tuple[Any, ...]) -> NoReturn:
        from vlltr_plugin.check.sandbox import remove_empty_folders

        ended = ""
        self.release()
        try:
            function(*parts, send=self._send, **self._request)
        except Exception as error:  # the host's code may raise anything
            traceback.print_exc()
            ended = describe_error(error)
        self._send({"ended": ended})
        remove_empty_folders()
        os._exit(0)  # ends the process before main.py runs what follows the training

    def _send(self, message: Message) -> None:
        arrays = {name: value for name, value in message.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in message.items() if name not in arrays}
        plain["arrays"] = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
        self._channel.write(json.dumps(plain).encode() + b"\n")
        for array in arrays.values():
            self._channel.write(array.tobytes())
        self._channel.flush()


def _raise(error: Exception, frames: list[FrameType], **_: Any) -> None:
    raise error


_task: list[_Task] = []
"""Empty in every training run."""


def enter(*parts: Any) -> None:
    """Called first by every `attach`: runs the command's task, then ends the program.

    Does nothing in a training run.
    """
    if _task:
        _task[0].attached(*parts)


def run_main() -> None:
    """Runs the host's program in this separate process as `python SCRIPT` in the checkout would."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from vlltr_plugin.check.sandbox import restrict

    order = json.loads(sys.argv[1])
    task = _Task(os.fdopen(os.dup(1), "wb"), order["task"])
    os.dup2(2, 1)  # what the host prints goes to stderr, beside its errors
    _task.append(task)
    task.release = restrict(Path.cwd(), order["safe_pickle"])
    lines, checkout, script = order["lines"], order["checkout"], order["script"]

    def stop(*_: Any) -> NoReturn:
        task.failed(ReportError(STEPPED.format(script)), [frame for frame, _ in traceback.walk_stack(None)])

    register_optimizer_step_pre_hook(stop)
    sys.path[:0] = [lines, checkout]
    sys.argv = [script, *sys.argv[2:]]
    main = next(path for path in (Path(lines, script), Path(checkout, script)) if path.is_file())
    try:
        runpy.run_path(str(main), run_name="__main__")
    except Exception as error:  # the host's code may raise anything
        traceback.print_exc()
        task.failed(error, [frame for frame, _ in traceback.walk_tb(error.__traceback__)])


def describe_error(error: Exception) -> str:
    """Describes an error in one line: its type if it is the host's, and its file and line if it has no message."""
    reason = " ".join(str(error).split())[:300]
    if isinstance(error, ReportError | OSError):
        return reason
    if not reason:  # a bare `assert`, say
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"
    return f"The host's code failed: {type(error).__name__}: {reason}"
