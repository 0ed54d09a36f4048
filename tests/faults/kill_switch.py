"""Kills the process that it is armed in, with SIGKILL, at a named moment of a run."""

import io
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch

MOMENTS = ("step", "end_epoch", "arrays", "checkpoint", "replace", "log")
CALLS_IN_END_EPOCH = 300  # of Python functions, about


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, number: int = 0, share: float = 0.5) -> None:
    """Arm the switch.

    Args:
        moment: One of `MOMENTS`: a step of training, somewhere in the plug-in's `end_epoch`, while an .npz, a
            checkpoint or a line of log.txt is written, before or after a file replaces another.
        number: Which one of those, from 0.
        share: How far into it: of the bytes that are written, of the calls that are made.
    """
    {
        "step": _in_step,
        "end_epoch": _in_end_epoch,
        "arrays": lambda *where: _in_write(".npz", *where),
        "checkpoint": _in_save,
        "replace": _at_replace,
        "log": lambda *where: _in_write("log.txt", *where),
    }[moment](number, share)


class _Countdown:
    def __init__(self, number: int) -> None:
        self.left = number

    def is_over(self) -> bool:
        self.left -= 1
        return self.left < 0


def _around(owner: Any, name: str, number: int, share: float) -> None:
    """Dies before or after call `number` of a function."""
    real, countdown = getattr(owner, name), _Countdown(number)

    def fatal(*args: Any, **kwargs: Any) -> Any:
        over = countdown.is_over()
        if over and share < 0.5:
            die()
        result = real(*args, **kwargs)
        if over:
            die()
        return result

    setattr(owner, name, fatal)


def _in_step(number: int, share: float) -> None:
    _around(torch.Tensor, "backward", number, share)


def _at_replace(number: int, share: float) -> None:
    _around(os, "replace", number, share)


def _in_end_epoch(number: int, share: float) -> None:
    from vlltr_plugin.training.hook import EpochHook

    real, countdown = EpochHook.end_epoch, _Countdown(number)

    def fatal(self: EpochHook, epoch: int) -> Any:
        if not countdown.is_over():
            return real(self, epoch)
        calls = _Countdown(int(share * CALLS_IN_END_EPOCH))
        sys.setprofile(lambda frame, event, argument: die() if event == "call" and calls.is_over() else None)
        real(self, epoch)
        return die()

    EpochHook.end_epoch = fatal  # type: ignore[method-assign]


def _in_save(number: int, share: float) -> None:
    """Dies when a share of a checkpoint's bytes has reached its file."""
    real, countdown = torch.save, _Countdown(number)

    def fatal(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if not countdown.is_over():
            real(obj, f, *args, **kwargs)
            return
        buffer = io.BytesIO()
        real(obj, buffer, *args, **kwargs)
        pathlib.Path(f).write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
        die()

    torch.save = fatal


def _in_write(name: str, number: int, share: float) -> None:
    """Dies when a share of what is written to a file of that name has reached it."""
    real, countdown = pathlib.Path.open, _Countdown(number)

    def fatal(self: pathlib.Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = real(self, mode, *args, **kwargs)
        if name in self.name and set(mode) & set("wax") and countdown.is_over():
            file.write = _partial(file.write, file.flush, share)
        return file

    pathlib.Path.open = fatal  # type: ignore[method-assign]


def _partial(write: Callable[[Any], int], flush: Callable[[], None], share: float) -> Callable[[Any], int]:
    def fatal(data: Any) -> int:
        write(data[: int(share * len(data))])
        flush()
        die()
        return 0

    return fatal
