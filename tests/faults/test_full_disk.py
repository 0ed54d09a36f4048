"""A full disk costs the arrays of an epoch, or the new checkpoint; never what was there before."""

from pathlib import Path

import pytest
from faults.limited_disk import FullDisk
from faults.recovery import arrays
from faults.runs import Nursery
from mini_host import trained

from vlltr_plugin.demo.standin_checkout import STANDIN


def files(folder: Path) -> dict[str, str]:
    """What is in the folder of arrays, each file loaded whole."""
    paths = sorted((folder / "reweight").iterdir())
    return {path.name: str({name: array.tolist() for name, array in arrays(path).items()}) for path in paths}


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "mkdir"])
def test_training_goes_on_with_one_warning_and_later_arrays_come(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = trained({"type": "class_volume"}, 5, output_dir=str(tmp_path / "expected"))
    capsys.readouterr()
    disk = FullDisk(monkeypatch, call)
    host = trained({"type": "class_volume"}, output_dir=str(tmp_path / "run"))
    for epoch in range(5):
        disk.full = epoch in (1, 3)
        host.epoch(epoch)
    assert capsys.readouterr().out.count("No space left on device") == 1
    assert host.stats["reweight_alpha_max"] == expected.stats["reweight_alpha_max"]
    whole = files(tmp_path / "expected")
    assert files(tmp_path / "run") == {name: whole[name] for name in sorted(whole)[::2]}


def test_a_disk_that_fills_up_half_way_through_the_arrays(nursery: Nursery, tmp_path: Path) -> None:
    tried = nursery.start(tmp_path, str(tmp_path), [1, 2], 3, call="faults.limited_disk:train")
    assert tried.wait() == 0, tried.printed()
    assert tried.printed().count("could not write epoch 1 into") == 1
    assert tried.printed().count("could not write") == 1
    assert list(files(tmp_path)) == ["epoch_0000.npz", "epoch_0003.npz"]


def test_a_disk_that_fills_up_half_way_through_a_checkpoint(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_bytes((STANDIN / "utils.py").read_bytes())
    tried = nursery.start(tmp_path, str(tmp_path), call="faults.limited_disk:save")
    assert tried.wait() == 0, tried.printed()
    assert "failed: RuntimeError" in tried.printed()
    assert "still there: epoch 1" in tried.printed()
    assert not [path for path in tmp_path.iterdir() if "unfinished" in path.name]
