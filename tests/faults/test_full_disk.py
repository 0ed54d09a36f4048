"""A full disk costs the arrays of an epoch, or the new checkpoint; never what was there before."""

import errno
import os
import pathlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.runs import Nursery
from mini_host import trained

from vlltr_plugin.demo.standin_checkout import STANDIN


def arrays(folder: Path) -> dict[str, list[Any]]:
    """What is in the folder of arrays, each file loaded whole."""
    found = {}
    for path in sorted((folder / "reweight").iterdir()):
        with np.load(path) as file:
            found[path.name] = [file[name].tolist() for name in sorted(file.files)]
    return found


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "mkdir"])
def test_training_goes_on_with_one_warning_and_later_arrays_come(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = trained({"type": "class_volume"}, 5, output_dir=str(tmp_path / "expected"))
    capsys.readouterr()
    owner: Any = pathlib.Path if call in ("open", "mkdir") else os
    real, full = getattr(owner, call), False

    def limited(*args: Any, **kwargs: Any) -> Any:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, call, limited)
    host = trained({"type": "class_volume"}, output_dir=str(tmp_path / "run"))
    for epoch in range(5):
        full = epoch in (1, 3)
        host.epoch(epoch)
    assert capsys.readouterr().out.count("No space left on device") == 1
    assert host.stats["reweight_alpha_max"] == expected.stats["reweight_alpha_max"]
    whole = arrays(tmp_path / "expected")
    assert arrays(tmp_path / "run") == {
        f"epoch_{epoch:04d}.npz": whole[f"epoch_{epoch:04d}.npz"] for epoch in (0, 2, 4)
    }


def test_a_disk_that_fills_up_half_way_through_the_arrays(nursery: Nursery, tmp_path: Path) -> None:
    tried = nursery.start(tmp_path, str(tmp_path), [1, 2], 3, call="faults.limited_disk:train")
    assert tried.wait() == 0, tried.printed()
    assert tried.printed().count("could not write epoch 1 into") == 1
    assert tried.printed().count("could not write") == 1
    assert list(arrays(tmp_path)) == ["epoch_0000.npz", "epoch_0003.npz"]


def test_a_disk_that_fills_up_half_way_through_a_checkpoint(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_bytes((STANDIN / "utils.py").read_bytes())
    tried = nursery.start(tmp_path, str(tmp_path), call="faults.limited_disk:save")
    assert tried.wait() == 0, tried.printed()
    assert "failed: RuntimeError" in tried.printed()
    assert "still there: epoch 1" in tried.printed()
    assert not [path for path in tmp_path.iterdir() if "unfinished" in path.name]
