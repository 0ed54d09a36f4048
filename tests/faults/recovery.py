"""What has to hold after a kill, and after the run was started again."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlltr_plugin.compat.runtime import trust_argparse_namespace
from vlltr_plugin.hosts.vl_ltr.log import read_log
from vlltr_plugin.report.compare import Method, compare, load_run


def visible_files_are_whole(folder: Path) -> dict[str, Any] | None:
    """Loads every checkpoint and every .npz of a run's folder, safely; returns `checkpoint.pth`."""
    for path in folder.rglob("*.npz"):
        arrays(path)
    trust_argparse_namespace()  # torch's `safe_globals` would take the trust away from later tests on leaving
    paths = folder.rglob("*.pth")
    loaded = {path.name: torch.load(path, map_location="cpu", weights_only=True) for path in paths}
    return loaded.get("checkpoint.pth")


def arrays(path: Path) -> dict[str, Any]:
    """The arrays of an epoch; fails for a truncated file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def epoch_arrays(folder: Path, epoch: int) -> dict[str, Any]:
    return arrays(folder / "reweight" / f"epoch_{epoch:04d}.npz")


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays or tensors have the same bytes."""
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


def recovers(folder: Path, whole: Path, epochs: int, killed: dict[str, Any] | None) -> None:
    """Asserts that a run in `folder` went on from `killed`, its checkpoint, as the `whole` run that nobody killed."""
    last = -1 if killed is None else killed["epoch"]
    if killed is not None:
        saved = killed["reweight"]["weightings"]["image_text"]["weights"]
        assert same_bits(saved, epoch_arrays(whole, last)["next_weights_image_text"])
        if last + 1 < epochs:
            assert same_bits(saved, epoch_arrays(folder, last + 1)["weights_image_text"])
            assert same_bits(saved, epoch_arrays(whole, last + 1)["weights_image_text"])
    checkpoint = visible_files_are_whole(folder)
    assert checkpoint is not None
    assert checkpoint["epoch"] == epochs - 1
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert files == {path.name for path in whole.rglob("*") if path.is_file()}  # nothing half-written stays
    missing = set(range(epochs)) - set(read_log(folder / "log.txt").epochs)
    assert missing <= {last}
    runs = [Method("whole", (load_run(whole),)), Method("killed", (load_run(folder),))]
    differing = [setting.name for setting in compare(runs).verdict.differing]
    assert differing == ["last epoch in the log"] * (missing == {epochs - 1})  # of the last line nothing is known
