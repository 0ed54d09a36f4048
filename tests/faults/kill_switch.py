"""Kills the process that it is armed in, with SIGKILL, at a named moment of a run."""

import io
import itertools
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

MOMENTS = ("step", "end_epoch", "arrays", "checkpoint", "replace", "log")
CALLS_IN_END_EPOCH = 300  # of Python functions, about


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, number: int = 0, share: float = 0.5) -> None:
    """Arms the switch for the moment of that number, from 0; `share` of the bytes or calls in it are made first."""
    {
        "step": partial(_around, torch.Tensor, "backward"),
        "end_epoch": _in_end_epoch,
        "arrays": partial(_in_write, ".npz"),
        "checkpoint": _in_save,
        "replace": partial(_around, os, "replace"),
        "log": partial(_in_write, "log.txt"),
    }[moment](number, share)


def _after(number: int) -> Callable[[], bool]:
    """A function that returns False so many times, then True."""
    calls = itertools.count()
    return lambda: next(calls) >= number


def _around(owner: Any, name: str, number: int, share: float) -> None:
    """Dies before or after call `number` of a function."""
    real, is_over = getattr(owner, name), _after(number)

    def fatal(*args: Any, **kwargs: Any) -> Any:
        over = is_over()
        if over and share < 0.5:
            die()
        result = real(*args, **kwargs)
        if over:
            die()
        return result

    setattr(owner, name, fatal)


def _in_end_epoch(number: int, share: float) -> None:
    from vlltr_plugin.training.hook import EpochHook

    real, is_over = EpochHook.end_epoch, _after(number)

    def fatal(self: EpochHook, epoch: int) -> Any:
        if not is_over():
            return real(self, epoch)
        last_call = _after(int(share * CALLS_IN_END_EPOCH))
        sys.setprofile(lambda frame, event, argument: die() if event == "call" and last_call() else None)
        real(self, epoch)
        return die()

    EpochHook.end_epoch = fatal  # type: ignore[method-assign]


def _in_save(number: int, share: float) -> None:
    """Dies when a share of a checkpoint's bytes has reached its file."""
    real, is_over = torch.save, _after(number)

    def fatal(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if not is_over():
            real(obj, f, *args, **kwargs)
            return
        buffer = io.BytesIO()
        real(obj, buffer, *args, **kwargs)
        _part_of(buffer.getvalue(), share, pathlib.Path(f).write_bytes)

    torch.save = fatal


def _in_write(name: str, number: int, share: float) -> None:
    """Dies when a share of what is written to a file of that name has reached it."""
    real, is_over = pathlib.Path.open, _after(number)

    def fatal(self: pathlib.Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = real(self, mode, *args, **kwargs)
        if name in self.name and set(mode) & set("wax") and is_over():
            write = file.write
            file.write = lambda data: _part_of(data, share, lambda part: (write(part), file.flush()))
        return file

    pathlib.Path.open = fatal  # type: ignore[method-assign]


def _part_of(data: Any, share: float, write: Callable[[Any], Any]) -> None:
    write(data[: int(share * len(data))])
    die()
