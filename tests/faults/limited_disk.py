"""A process whose files may not grow: what a full disk does to it, half-way through a write."""

import resource
import sys
from pathlib import Path

import torch
from mini_host import trained


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

    path = Path(folder) / "checkpoint.pth"
    utils.save_on_master({"epoch": 1}, path)
    limit(50_000)
    try:
        utils.save_on_master({"w": torch.zeros(100_000)}, path)
    except Exception as error:
        limit(-1)
        print("failed:", type(error).__name__)
    print("still there: epoch", torch.load(path, weights_only=True)["epoch"])
