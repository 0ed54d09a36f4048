"""The command `inspect`: names, tables, pictures, and files that are not what they should be."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import Hostile
from report_lines import PNG, refused
from run_arrays import epoch_arrays, one

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.inspect import inspect_run


def made(**changes):
    return epoch_arrays(np.random.default_rng(0)) | changes


def test_the_command_prints_names_and_draws_pictures_only_when_asked(write, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "data/some").mkdir(parents=True)
    (tmp_path / "data/some/categories.json").write_text(json.dumps([{"name": f"[b]thing {n}"} for n in range(12)]))
    (tmp_path / "main.py").touch()
    run, out = write(made(), made()), tmp_path / "pictures"
    before = sorted(run.rglob("*"))
    assert main(["inspect", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "[b]thing 8 (8)" in printed
    assert "Epoch 1 of 0 to 1" in printed
    assert sorted(run.rglob("*")) == before
    assert main(["inspect", str(run), "--epoch", "0", "--out", str(out)]) == 0
    assert "Epoch 0 of 0 to 1" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["class_size.png", "epochs.png", "extremes.png"]
    assert all(path.read_bytes().startswith(PNG) for path in out.iterdir())


def test_each_kind_of_logits_has_tables_and_pictures(write, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    both = made() | {key.replace("image_text", "visual"): value for key, value in made().items()}
    assert main(["inspect", str(write(both)), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert 0 < printed.index("from the image_text logits") < printed.index("from the visual logits")
    assert len(list((tmp_path / "out").iterdir())) == 6


def refusal(run, capsys, *more):
    return refused(capsys, run.parent, "inspect", run, "--out", run.parent / "out", *more)


def test_a_hostile_array_is_refused_and_never_run(run, tmp_path, capsys):
    executed = tmp_path / "executed"
    np.savez(run / "reweight/epoch_0004.npz", **made(counts=np.array([Hostile(executed)] * 12, dtype=object)))
    assert "epoch_0004.npz" in refusal(run, capsys)
    (run / "reweight/epoch_0004.npz").write_bytes(pickle.dumps(Hostile(executed)))
    assert "epoch_0004.npz" in refusal(run, capsys)
    assert not executed.exists()


def huge(path):
    """An array header that promises 16 EB."""
    np.savez(path, **made())
    path.write_bytes(path.read_bytes().replace(b"'shape': (12,), }    ", b"'shape': (2**60,), }"[:21].ljust(21)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and no more",
        np.zeros(3),  # no archive
        huge,
        {"a": np.zeros(3)},
        {"counts": np.ones(3), "draws": np.ones(3)},
        made(draws=np.ones((12, 2))),
        made(draws=np.array(["x"] * 12)),
        made(draws=np.full(12, np.nan)),
        made(log_radius_image_text=np.full(12, np.inf)),
        made(counts=np.zeros(12)),
        made(weights_image_text=np.zeros(12)),
        {key: array[:5] for key, array in made().items()},
    ],
)
def test_a_broken_or_foreign_file_is_one_line_that_names_it(run, capsys, content):
    path = run / "reweight/epoch_0002.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif callable(content):
        content(path)
    else:
        with path.open("wb") as file:
            np.save(file, content)
    assert "epoch_0002.npz" in refusal(run, capsys)


def test_folders_without_arrays_and_epochs_that_are_not_there_are_one_line(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "reweight/epoch_*.npz" in refusal(tmp_path / "empty", capsys)
    assert "is not there" in refusal(tmp_path / "nowhere", capsys)
    assert "is a file" in refusal(run / "reweight/epoch_0000.npz", capsys)
    (run / "reweight/epoch_0001.npz").unlink()
    assert "(0, 2-3) but got 1" in refusal(run, capsys, "--epoch", "1")


def test_half_written_files_of_a_running_job_are_passed_over(run):
    (run / "reweight/.tmp123.npz").write_bytes(b"half")
    assert one(run).epoch == 3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_a_run_of_inaturalists_size_takes_little_memory(tmp_path):
    """360 epochs of 8142 classes: 360 links to two files."""
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    counts = np.round(1000 * np.exp(-rng.uniform(0, 6.2, 8142)))
    folder = tmp_path / "run/reweight"
    folder.mkdir(parents=True)
    for number in range(2):
        log_radius = -0.05 * np.log(counts) + 0.1 * rng.standard_normal(8142)
        weights = np.exp(log_radius) / counts
        arrays = {"weights": weights, "next_weights": weights, "log_radius": log_radius, "samples": counts}
        named = {f"{key}_a": value for key, value in (arrays | {"substituted": counts < 3}).items()}
        np.savez(tmp_path / f"{number}.npz", counts=counts, draws=counts, drawn=counts, **named)
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


def test_mixed_runs_in_one_folder_are_refused(run, write):
    write({key.replace("image_text", "visual"): value for key, value in made().items()}, first=4)
    with pytest.raises(ReportError, match="two runs in one folder"):
        inspect_run(run)
