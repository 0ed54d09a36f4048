"""Pickles that would leave a mark when something loads them: nothing does. Checkpoints of other origin."""

import argparse
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.recovery import epoch_arrays
from faults.runs import StandIn
from hostile import Hostile

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.log import read_log


@pytest.fixture(scope="module")
def one_epoch(standin: StandIn) -> Path:
    """The folder of a run of one epoch."""
    standin.train("one_epoch", 1)
    return standin.folder("one_epoch")


@pytest.fixture
def folder(one_epoch: Path, standin: StandIn, tmp_path: Path) -> Path:
    """A copy of that folder, named as the test's."""
    return Path(shutil.copytree(one_epoch, standin.folder(tmp_path.name)))


def spoiled(checkpoint: dict[str, Any], where: str, hostile: Hostile) -> Any:
    if where == "everything":
        return hostile
    if where == "arguments":
        return {**checkpoint, "args": argparse.Namespace(epochs=2, lr=hostile)}
    if where == "state":
        return {**checkpoint, "reweight": hostile}
    checkpoint["reweight"]["weightings"]["image_text"]["_extra_state"]["settings"]["variant"] = hostile
    return checkpoint


@pytest.mark.parametrize("where", ["everything", "arguments", "state", "setting", "bare pickle"])
def test_a_hostile_checkpoint_ends_the_resume_and_is_never_run(
    standin: StandIn, folder: Path, tmp_path: Path, where: str
) -> None:
    mark, path = tmp_path / "mark", folder / "checkpoint.pth"
    if where == "bare pickle":
        path.write_bytes(pickle.dumps(Hostile(mark)))
    else:
        torch.save(spoiled(torch.load(path, weights_only=False), where, Hostile(mark)), path)
    before = (folder / "log.txt").read_bytes()
    started = standin.start(folder.name, 2)
    assert started.wait() == 1
    assert "Weights only load failed" in started.printed()
    assert not mark.exists()
    assert (folder / "log.txt").read_bytes() == before
    pickle.loads(path.read_bytes()) if where == "bare pickle" else torch.load(path, weights_only=False)
    assert mark.exists()  # the payload was a real one


def test_hostile_arrays_in_a_run_s_folder_are_never_read(standin: StandIn, folder: Path, tmp_path: Path) -> None:
    hostile = np.array([Hostile(tmp_path / "mark")], dtype=object)
    np.savez(folder / "reweight" / "epoch_0000.npz", weights_image_text=hostile)
    standin.train(folder.name, 2)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("form", ["bytes", "protocol 0", "in a line"])
def test_a_hostile_log_is_refused_and_never_run(tmp_path: Path, form: str) -> None:
    content = pickle.dumps(Hostile(tmp_path / "mark"), protocol=None if form == "bytes" else 0)
    if form == "in a line":
        line = json.dumps({"epoch": 0, "train_loss": content.decode("latin-1")})
        content = line.encode() + b"\n" + content
    (tmp_path / "log.txt").write_bytes(content)
    with pytest.raises(ReportError):
        read_log(tmp_path / "log.txt")
    assert not (tmp_path / "mark").exists()


def test_a_checkpoint_without_a_state_goes_on_with_weights_of_1(standin: StandIn, folder: Path) -> None:
    saved = torch.load(folder / "checkpoint.pth", weights_only=False)
    del saved["reweight"]
    torch.save(saved, folder / "checkpoint.pth")
    printed = standin.train(folder.name, 3)
    assert "holds no re-weighting state: weights start at 1" in printed
    assert "next epoch 1" in printed
    assert (epoch_arrays(folder, 1)["weights_image_text"] == 1).all()
    assert (epoch_arrays(folder, 2)["weights_image_text"] != 1).any()
