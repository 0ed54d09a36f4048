"""The command `inspect`: names, tables, pictures, and files that are not what they should be."""

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from run_arrays import Write, epoch_arrays, one

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.inspect import inspect_run, run_inspect
from vlltr_plugin.runs.epoch_files import write_arrays


def test_the_command_prints_names_and_draws_pictures_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "data/some").mkdir(parents=True)
    (tmp_path / "data/some/categories.json").write_text(json.dumps([{"name": f"[b]thing {n}"} for n in range(12)]))
    (tmp_path / "main.py").touch()
    run = tmp_path / "run"
    rng = np.random.default_rng(0)
    for epoch in range(2):
        write_arrays(run, epoch, {key: torch.from_numpy(np.asarray(a)) for key, a in epoch_arrays(rng).items()})
    before = sorted(run.rglob("*"))
    assert main(["inspect", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "[b]thing 8 (8)" in printed
    assert "Epoch 1 of 0 to 1" in printed
    assert sorted(run.rglob("*")) == before
    out = tmp_path / "pictures"
    assert main(["inspect", str(run), "--epoch", "0", "--out", str(out)]) == 0
    assert "Epoch 0 of 0 to 1" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["class_size.png", "epochs.png", "extremes.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in out.iterdir())


def test_the_tables_come_even_if_the_pictures_cannot_be_written(run: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "pictures" / "class_size.png").mkdir(parents=True)  # where a file should be
    assert main(["inspect", str(run), "--out", str(tmp_path / "pictures")]) == 2
    assert "volumes from the" in capsys.readouterr().out


def test_pictures_are_drawn_even_if_nobody_reads_the_tables_to_the_end(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_inspect(run, out=tmp_path / "pictures", console=Console(file=Closed()))
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_each_kind_of_logits_has_tables_and_pictures(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    both = epoch_arrays(rng)
    both |= {key.replace("image_text", "visual"): value for key, value in epoch_arrays(rng).items() if "_" in key}
    assert main(["inspect", str(write(both)), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert 0 < printed.index("from the image_text logits") < printed.index("from the visual logits")
    assert len(list((tmp_path / "out").iterdir())) == 6


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def refused(run: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    out = run.parent / "out"
    assert main(["inspect", str(run), "--out", str(out), *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vlltr-plugin: error: ")
    assert captured.err.count("\n") == 1
    assert not out.exists()
    return captured.err


def test_a_hostile_array_is_refused_and_never_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed = tmp_path / "executed"
    arrays = epoch_arrays(np.random.default_rng(0), counts=np.array([Hostile(executed)] * 12, dtype=object))
    np.savez(run / "reweight/epoch_0004.npz", **arrays)
    assert "epoch_0004.npz" in refused(run, capsys)
    (run / "reweight/epoch_0004.npz").write_bytes(pickle.dumps(Hostile(executed)))
    assert "epoch_0004.npz" in refused(run, capsys)
    assert not executed.exists()


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def huge(path: Path) -> None:
    """An array header that promises 16 EB."""
    np.savez(path, **epoch_arrays(np.random.default_rng(0)))
    path.write_bytes(path.read_bytes().replace(b"'shape': (12,), }    ", b"'shape': (2**60,), }"[:21].ljust(21)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and no more"),
        lambda path: path.write_bytes(b"\x00\xfe" * 50),
        npy,
        huge,
        lambda path: np.savez(path, a=np.zeros(3)),
        lambda path: np.savez(path, counts=np.ones(3), draws=np.ones(3)),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "draws": np.ones((12, 2))}),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "draws": np.array(["x"] * 12)}),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "draws": np.full(12, np.nan)}),
        lambda path: np.savez(
            path, **{**epoch_arrays(np.random.default_rng(0)), "log_radius_image_text": np.full(12, np.inf)}
        ),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "counts": np.zeros(12)}),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "weights_image_text": np.zeros(12)}),
        lambda path: np.savez(path, **{key: a[:5] for key, a in epoch_arrays(np.random.default_rng(0)).items()}),
    ],
)
def test_a_broken_or_foreign_file_is_one_line_that_names_it(
    run: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], Any]
) -> None:
    spoil(run / "reweight/epoch_0002.npz")
    assert "epoch_0002.npz" in refused(run, capsys)


def test_folders_without_arrays_and_epochs_that_are_not_there_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "reweight/epoch_*.npz" in refused(tmp_path / "empty", capsys)
    assert "is not there" in refused(tmp_path / "nowhere", capsys)
    assert "is a file" in refused(run / "reweight/epoch_0000.npz", capsys)
    (run / "reweight/epoch_0001.npz").unlink()
    assert "(0, 2-3) but got 1" in refused(run, capsys, "--epoch", "1")


def test_half_written_files_of_a_running_job_are_passed_over(run: Path) -> None:
    (run / "reweight/.tmp123.npz").write_bytes(b"half")
    assert one(run).epoch == 3


def test_without_matplotlib_tables_come_and_pictures_name_the_extra(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["inspect", str(run)]) == 0
    capsys.readouterr()
    assert "[report]" in refused(run, capsys)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_a_run_of_inaturalists_size_takes_little_memory(tmp_path: Path) -> None:
    """360 epochs of 8142 classes: 360 links to two files."""
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    counts = np.round(1000 * np.exp(-rng.uniform(0, 6.2, 8142)))
    folder = tmp_path / "run/reweight"
    folder.mkdir(parents=True)
    for number in range(2):
        log_radius = -0.05 * np.log(counts) + 0.1 * rng.standard_normal(8142)
        arrays = {
            "weights": np.exp(log_radius) / counts,
            "log_radius": log_radius,
            "substituted": counts < 3,
            "samples": counts,
        }
        np.savez(
            tmp_path / f"{number}.npz",
            counts=counts,
            draws=counts,
            drawn=counts,
            next_weights_image_text=arrays["weights"],
            **{f"{key}_image_text": value for key, value in arrays.items()},
        )
    for epoch in range(360):
        (folder / f"epoch_{epoch:04d}.npz").symlink_to(tmp_path / f"{epoch % 2}.npz")
    # Not getrusage: a child inherits its parent's peak there.
    code = (
        "import sys; from vlltr_plugin.cli import main; assert main(sys.argv[1:]) == 0; "
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    command = [sys.executable, "-c", code, "inspect", str(folder.parent), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert int(done.stdout.splitlines()[-1]) < 2**20  # KiB


def test_mixed_runs_in_one_folder_are_refused(run: Path, write: Write) -> None:
    arrays = epoch_arrays(np.random.default_rng(0))
    write({key.replace("image_text", "visual"): value for key, value in arrays.items()}, first=4)
    with pytest.raises(ReportError, match="two runs in one folder"):
        inspect_run(run)
