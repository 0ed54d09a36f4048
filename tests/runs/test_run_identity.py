"""A run goes on from its own files only, and `inspect` shows its own epochs only, whatever their names and times."""

import os
import pathlib
import shutil

import numpy as np
import pytest
import torch
from faults.limited_disk import FullDisk
from mini_host import trained
from recorded_run import COUNTS, contents, end_epochs, fresh, lines_of, recorded

from vlltr_plugin import InverseFrequency, ReweightedLoss, RunRecorder
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.inspect import inspect_run
from vlltr_plugin.runs.epoch_files import epoch_files, identity_of, new_start
from vlltr_plugin.runs.log import cut_log


def shown(folder):
    (found,) = inspect_run(folder)
    return found.series.epochs, found.stale


def logged(folder):
    return [line["epoch"] for line in lines_of(folder)]


def weights_after(seed):
    """By a float64 loop over the rows of an epoch: alpha = beta r / n, mean over draws 1."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    rows = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed)) * (1.0 + labels[:, None])
    radii = [rows[labels == c].double().std(dim=0).log().mean().exp().item() for c in range(3)]
    total = sum(radii)
    return [sum(COUNTS) / total * r / n for r, n in zip(radii, COUNTS, strict=True)]


def go_on(folder, criterion, epoch, seed):
    recorder = RunRecorder(folder, criterion)
    recorder.resume(epoch)
    end_epochs(recorder, seed, overall=float(seed))
    return recorder


@pytest.mark.parametrize("same_recorder", [True, False])
def test_an_epoch_lost_to_a_full_disk_is_not_replaced_by_a_discarded_one(tmp_path, monkeypatch, same_recorder):
    """Also what was in force without any file stays in force: the weights of the epoch that was lost."""
    recorded(tmp_path, epochs=4)
    criterion = fresh()
    disk = FullDisk(monkeypatch, "open", "fsync", "replace")
    disk.full = True
    recorder = go_on(tmp_path, criterion, 2, 20)
    disk.full = False
    again = recorder if same_recorder else RunRecorder(tmp_path, criterion)
    assert again.resume(3) == 3
    assert criterion.weighting.weights.tolist() == pytest.approx(weights_after(20), rel=1e-5)
    end_epochs(again, 30, overall=30.0)
    assert shown(tmp_path) == ([0, 1, 3], ())
    assert logged(tmp_path) == [0, 1, 3]
    with pytest.warns(UserWarning, match="after epoch 2 .*epochs there: 0, 1, 3.*START AT 1"):
        RunRecorder(tmp_path, fresh()).resume(3)


def test_discarded_files_that_cannot_be_removed_are_not_resumed_from(tmp_path, monkeypatch, capsys):
    recorded(tmp_path, epochs=4)
    criterion = fresh()

    def refused(path, *args, **kwargs):
        raise OSError("Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "unlink", refused)
        recorder = go_on(tmp_path, criterion, 2, 20)
        assert "Read-only" in capsys.readouterr().out
        assert list(epoch_files(tmp_path)) == [0, 1, 2, 3]
        assert recorder.resume(3) == 3
    assert criterion.weighting.weights.tolist() == pytest.approx(weights_after(20), rel=1e-5)


@pytest.mark.parametrize(("killed_before", "there"), [("EpochWriter.write", [0, 1]), ("append_line", [0, 1, 2])])
def test_a_kill_while_an_epoch_is_written_leaves_no_discarded_epoch(tmp_path, killed_before, there, monkeypatch):
    recorded(tmp_path, epochs=4)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"vlltr_plugin.training.recorder.{killed_before}", killed)
        with pytest.raises(KeyboardInterrupt):
            go_on(tmp_path, fresh(), 2, 20)
    assert shown(tmp_path) == (there, ())
    assert logged(tmp_path) == [0, 1]
    assert RunRecorder(tmp_path, fresh()).resume() == len(there)


def test_the_first_of_two_processes_to_write_into_a_folder_keeps_it(tmp_path, capsys):
    recorders = [RunRecorder(tmp_path, fresh()) for _ in range(2)]
    for recorder in recorders:
        recorder.resume()
    for epoch in range(2):
        for number, recorder in enumerate(recorders, start=1):
            end_epochs(recorder, epoch, overall=float(number))
    assert "another process has written epoch 0 there" in capsys.readouterr().out
    assert [line["overall"] for line in lines_of(tmp_path)] == [1.0, 1.0]
    assert shown(tmp_path) == ([0, 1], ())


def test_an_older_process_stops_writing_once_another_has_resumed_the_run(tmp_path, capsys):
    criterion = fresh()
    recorder = RunRecorder(tmp_path, criterion)
    end_epochs(recorder, *range(3))
    go_on(tmp_path, fresh(), 2, 20)
    before = contents(tmp_path)
    end_epochs(recorder, 3)
    assert contents(tmp_path) == before
    assert "another process" in capsys.readouterr().out


def test_a_baseline_removes_the_epochs_of_the_re_weighted_run_that_it_replaces(tmp_path):
    recorded(tmp_path, epochs=3)
    recorder = RunRecorder(tmp_path)
    recorder.resume(0)
    recorder.end_epoch(0, overall=1.0)
    assert not list((tmp_path / "reweight").iterdir())
    assert logged(tmp_path) == [0]


def copied(folder, to):
    """Without its times, in any order, as `unzip` and `rsync` without `-t` leave it."""
    shutil.copytree(folder, to)
    for number, path in enumerate(sorted(to.rglob("*.npz"), key=lambda path: hash(path.name))):
        os.utime(path, (1e9 + number, 1e9 + number))
    return to


@pytest.fixture
def host_run(tmp_path):
    """`host_run(2)`: a host ends epoch 2, after a resume from a state where one is given; the state of each epoch."""

    def run(*epochs, state=None):
        host, states = trained({"type": "class_volume"}, output_dir=str(tmp_path / "run")), {}
        if state is not None:
            host.hook.load(state)
        for epoch in epochs:
            host.epoch(epoch)
            states[epoch] = host.hook.checkpoint()
        return states

    return run


def test_inspect_shows_the_epochs_of_the_last_resume_of_a_host_s_run(host_run, tmp_path):
    first = host_run(*range(8))
    second = host_run(4, 5, state=first[3])
    assert shown(copied(tmp_path / "run", tmp_path / "a")) == ([0, 1, 2, 3, 4, 5], (6, 7))
    host_run(6, state=second[5])
    assert shown(copied(tmp_path / "run", tmp_path / "b")) == ([0, 1, 2, 3, 4, 5, 6], (7,))
    host_run(6, state=first[5])  # of the first start: its epochs 4 and 5 were written over by the second
    assert shown(copied(tmp_path / "run", tmp_path / "c")) == ([0, 1, 2, 3, 6], (4, 5, 7))
    host_run(0)
    assert shown(copied(tmp_path / "run", tmp_path / "d")) == ([0], (1, 2, 3, 4, 5, 6, 7))


def test_an_identity_leaves_out_starts_without_an_epoch():
    run = new_start(0, None, [])
    for _ in range(50):
        run = new_start(5, run, [run])
    assert [first for _, first in run.starts] == [0, 5]
    assert identity_of(str(run)) == run


def test_states_and_arrays_without_an_identity_are_those_of_one_run(host_run, tmp_path):
    states = host_run(*range(4))
    for path in epoch_files(tmp_path / "run").values():
        with np.load(path) as arrays:
            np.savez(path, **arrays)  # as without an identity
    assert shown(tmp_path / "run") == ([0, 1, 2, 3], ())
    del states[1]["reweight"]["run"]
    host_run(2, state=states[1])
    assert shown(tmp_path / "run") == ([0, 1, 2], (3,))


def test_folders_of_two_runs_put_together_are_refused(tmp_path):
    recorded(tmp_path / "other")
    recorded(tmp_path / "run", 4)
    shutil.copytree(tmp_path / "other", tmp_path / "run", dirs_exist_ok=True)
    with pytest.raises(ReportError, match=r"arrays of one run .* those of 2 \(epochs (0, 1; 2, 3|2, 3; 0, 1)\)"):
        inspect_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"epochs of one run .* those of 2, .* call resume\(0\)"):
        RunRecorder(tmp_path / "run", fresh()).resume()


def test_the_identity_is_outside_the_arrays_and_uses_no_random_generator(host_run, tmp_path):
    host_run(0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    recorded(tmp_path / "own", epochs=1)
    with np.load(tmp_path / "own/reweight/epoch_0000.npz") as file:
        assert not [name for name in file.files if file[name].dtype.kind in "SUO"]
    torch.manual_seed(5)
    RunRecorder(tmp_path / "more", ReweightedLoss(InverseFrequency(COUNTS))).end_epoch(0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("epochs", "first", "left"), [("0123", 2, "01"), ("0123", 0, ""), ("0123", 4, "0123"), ("01212", 2, "0121")]
)
def test_a_log_is_cut_where_the_discarded_epochs_begin(tmp_path, epochs, first, left):
    (tmp_path / "log.txt").write_text("".join(f'{{"epoch": {epoch}}}\n' for epoch in epochs))
    cut_log(tmp_path / "log.txt", first)
    assert logged(tmp_path) == [int(epoch) for epoch in left]
