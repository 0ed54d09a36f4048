"""The host's checkpoints, written whole or not at all."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch

from vlltr_plugin.compat.after_import import after_import
from vlltr_plugin.runs.whole_files import whole_file

__all__ = ["save_checkpoints_whole"]

UNFINISHED = ".vlltr-unfinished"


def save_checkpoints_whole() -> None:
    """Makes the host's `utils.save_on_master` replace a checkpoint in one step.

    The host writes `checkpoint.pth` in place. A run that is killed meanwhile, or finds the disk full, has lost the
    old one and holds half of the new one: "RuntimeError: PytorchStreamReader failed reading zip archive: failed
    finding central directory", and no start resumes from it. The same bytes now stream to a file beside it first, so
    that the disk has to hold both for a moment; memory does not. Other uses of `torch.save` are left alone.
    """
    after_import("utils", _save_whole_in)


def _save_whole_in(module: ModuleType) -> None:
    save_on_master = getattr(module, "save_on_master", None)
    if not isinstance(save_on_master, FunctionType) or getattr(save_on_master, "saves_whole", False):
        return

    @functools.wraps(save_on_master)
    def save_whole_on_master(*args: Any, **kwargs: Any) -> Any:
        plain = torch.save
        torch.save = functools.partial(_save_whole, plain)
        try:
            return save_on_master(*args, **kwargs)
        finally:
            torch.save = plain

    save_whole_on_master.saves_whole = True  # type: ignore[attr-defined]
    vars(module)["save_on_master"] = save_whole_on_master


def _save_whole(plain: Callable[..., None], obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
    """`torch.save`, by way of a file beside the one that is named; anything but a path is left to torch."""
    path = Path(os.path.realpath(f)) if isinstance(f, str | os.PathLike) else None  # a link stays a link
    if path is None or (path.exists() and not path.is_file()):
        plain(obj, f, *args, **kwargs)
        return
    for left in path.parent.glob(f"*{UNFINISHED}"):  # by a killed run, of a checkpoint that may never come again
        with contextlib.suppress(OSError):
            left.unlink()
    # torch writes the name up to its last dot into the file: the same here, so the file has the same bytes.
    with whole_file(path, path.with_suffix(UNFINISHED)) as unfinished:
        plain(obj, unfinished, *args, **kwargs)
