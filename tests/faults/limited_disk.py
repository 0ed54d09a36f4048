"""A full disk: calls that fail in this process, or a process whose files may not grow, half-way through a write."""

import errno
import os
import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mini_host import trained


class FullDisk:
    """While it is `full`, the named calls of `pathlib.Path` and `os` fail; `open` only to write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
        self.full = False
        for call in calls:
            owner: Any = os if call in ("fsync", "replace") else pathlib.Path
            monkeypatch.setattr(owner, call, self._limited(call, getattr(owner, call)))

    def _limited(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def limited(first: Any, *args: Any, **kwargs: Any) -> Any:
            reads = call == "open" and not set(kwargs.get("mode", [*args, "r"][0])) & set("wax+")
            if self.full and not reads:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(first, *args, **kwargs)

        return limited


def limit(size: int) -> None:
    """No file may become larger; -1 lifts the limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def train(folder: str, full: list[int], last: int) -> None:
    """Trains with the disk full at the end of some epochs."""
    host = trained({"type": "class_volume"}, output_dir=folder)
    end_epoch = host.hook.end_epoch

    def ends(epoch: int) -> dict[str, float]:
        limit(1000 if epoch in full else -1)
        try:
            return end_epoch(epoch)
        finally:
            limit(-1)

    host.hook.end_epoch = ends
    for epoch in range(last + 1):
        host.epoch(epoch)


def save(folder: str) -> None:
    """Saves a checkpoint as the host does, then a larger one that the disk does not take."""
    sys.path.insert(0, folder)
    import utils

    path = pathlib.Path(folder) / "checkpoint.pth"
    utils.save_on_master({"epoch": 1}, path)
    limit(50_000)
    try:
        utils.save_on_master({"w": torch.zeros(100_000)}, path)
    except Exception as error:
        limit(-1)
        print("failed:", type(error).__name__)
    print("still there: epoch", torch.load(path, weights_only=True)["epoch"])
