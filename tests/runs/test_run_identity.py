"""A run goes on from its own files only, and `inspect` shows its own epochs only, whatever their names and times."""

import errno
import os
import pathlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_host import MiniHost
from recorded_run import COUNTS, contents, end_epochs, fresh, lines_of, recorded

from vlltr_plugin import InverseFrequency, ReweightedLoss, RunRecorder
from vlltr_plugin.report.inspect import inspect_run
from vlltr_plugin.runs.epoch_files import epoch_files, identity_of, new_start
from vlltr_plugin.runs.log import cut_log


def shown(folder):
    (found,) = inspect_run(Path(folder))
    return found.series.epochs, found.stale


def weights_after(seed):
    """By a float64 loop over the rows of an epoch: alpha = beta r / n, mean over draws 1."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    rows = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed)) * (1.0 + labels[:, None])
    radii = [rows[labels == c].double().std(dim=0).log().mean().exp().item() for c in range(3)]
    total = sum(radii)
    return [sum(COUNTS) / total * r / n for r, n in zip(radii, COUNTS, strict=True)]


@pytest.fixture
def disk(monkeypatch):
    """`disk(full=True)`: nothing that needs room can be written."""
    real = {(pathlib.Path, "open"): pathlib.Path.open, (os, "replace"): os.replace, (os, "fsync"): os.fsync}
    state = {"full": False}

    def limited(call, writes):
        def wrapped(*args, **kwargs):
            if state["full"] and writes(*args, **kwargs):
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*args, **kwargs)

        return wrapped

    for (owner, name), call in real.items():
        writes = (lambda path, mode="r", *a, **k: set(mode) & set("wax+")) if name == "open" else (lambda *a, **k: True)
        monkeypatch.setattr(owner, name, limited(call, writes))

    def fill(full):
        state["full"] = full

    return fill


def go_on(folder, criterion, epoch, seed):
    recorder = RunRecorder(folder, criterion)
    recorder.resume(epoch)
    end_epochs(recorder, seed, overall=float(seed))
    return recorder


@pytest.mark.parametrize("same_recorder", [True, False])
def test_an_epoch_that_a_full_disk_lost_is_not_replaced_by_one_that_the_run_has_left(tmp_path, disk, same_recorder):
    """Also what was in force without any file stays in force: the weights of the epoch that was lost."""
    recorded(tmp_path, epochs=4)
    criterion = fresh()
    recorder = RunRecorder(tmp_path, criterion)
    recorder.resume(2)
    disk(full=True)
    end_epochs(recorder, 20, overall=20.0)
    disk(full=False)
    again = recorder if same_recorder else RunRecorder(tmp_path, criterion)
    assert again.resume(3) == 3
    assert criterion.weighting.weights.tolist() == pytest.approx(weights_after(20), rel=1e-5)
    end_epochs(again, 30, overall=30.0)
    assert shown(tmp_path) == ([0, 1, 3], ())
    assert [line["epoch"] for line in lines_of(tmp_path)] == [0, 1, 3]
    with pytest.warns(UserWarning, match="after epoch 2 .*epochs there: 0, 1, 3.*START AT 1"):
        RunRecorder(tmp_path, fresh()).resume(3)


def test_files_that_could_not_be_removed_are_not_taken_for_the_run_s(tmp_path, monkeypatch, capsys):
    recorded(tmp_path, epochs=4)
    criterion = fresh()

    def refused(path, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "unlink", refused)
        recorder = go_on(tmp_path, criterion, 2, 20)
        assert "Read-only" in capsys.readouterr().out
        assert list(epoch_files(tmp_path)) == [0, 1, 2, 3]
        assert recorder.resume(3) == 3
    assert criterion.weighting.weights.tolist() == pytest.approx(weights_after(20), rel=1e-5)


@pytest.mark.parametrize("killed_before", ["write", "append_line"])
def test_a_kill_while_an_epoch_is_written_leaves_nothing_of_what_the_run_has_left(tmp_path, killed_before, monkeypatch):
    recorded(tmp_path, epochs=4)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        owner = "recorder.append_line" if killed_before == "append_line" else "recorder.EpochWriter.write"
        patched.setattr(f"vlltr_plugin.training.{owner}", killed)
        with pytest.raises(KeyboardInterrupt):
            go_on(tmp_path, fresh(), 2, 20)
    there = [0, 1] if killed_before == "write" else [0, 1, 2]
    assert shown(tmp_path) == (there, ())
    assert [line["epoch"] for line in lines_of(tmp_path)] == [0, 1]
    assert RunRecorder(tmp_path, fresh()).resume() == len(there)


def test_of_two_processes_in_a_folder_the_first_to_write_keeps_it(tmp_path, capsys):
    recorders = [RunRecorder(tmp_path, fresh()) for _ in range(2)]
    for recorder in recorders:
        recorder.resume()
    for epoch in range(2):
        for number, recorder in enumerate(recorders, start=1):
            end_epochs(recorder, epoch, overall=float(number))
    assert "another process has written epoch 0 there" in capsys.readouterr().out
    assert [line["overall"] for line in lines_of(tmp_path)] == [1.0, 1.0]
    assert shown(tmp_path) == ([0, 1], ())


def test_a_process_that_was_taken_for_dead_leaves_the_folder_to_the_one_that_went_on(tmp_path, capsys):
    criterion = fresh()
    recorder = RunRecorder(tmp_path, criterion)
    end_epochs(recorder, *range(3))
    go_on(tmp_path, fresh(), 2, 20)
    before = contents(tmp_path)
    end_epochs(recorder, 3)
    assert contents(tmp_path) == before
    assert "another process" in capsys.readouterr().out


def test_a_baseline_in_the_folder_of_a_re_weighted_run_leaves_none_of_its_epochs(tmp_path):
    recorded(tmp_path, epochs=3)
    recorder = RunRecorder(tmp_path)
    recorder.resume(0)
    recorder.end_epoch(0, overall=1.0)
    assert not list((tmp_path / "reweight").iterdir())
    assert [line["epoch"] for line in lines_of(tmp_path)] == [0]


def copied(folder, to):
    """Without its times, in any order, as `unzip` and `rsync` without `-t` leave it."""
    shutil.copytree(folder, to)
    for number, path in enumerate(sorted(to.rglob("*.npz"), key=lambda path: hash(path.name))):
        os.utime(path, (1e9 + number, 1e9 + number))
    return to


@pytest.fixture
def host_run(tmp_path):
    """`host_run(2)`: a host ends epoch 2, after a resume from a state where one is given."""

    def run(*epochs, state=None):
        host = MiniHost({"type": "class_volume"})
        host.args.output_dir = str(tmp_path / "run")
        host.attach()
        if state is not None:
            host.hook.load(state)
        states = {}
        for epoch in epochs:
            host.epoch(epoch)
            states[epoch] = host.hook.checkpoint()
        return states

    return run


def test_a_host_s_run_that_went_back_twice_shows_the_epochs_that_it_consists_of(host_run, tmp_path):
    first = host_run(*range(8))
    second = host_run(4, 5, state=first[3])
    assert shown(copied(tmp_path / "run", tmp_path / "a")) == ([0, 1, 2, 3, 4, 5], (6, 7))
    host_run(6, state=second[5])
    assert shown(copied(tmp_path / "run", tmp_path / "b")) == ([0, 1, 2, 3, 4, 5, 6], (7,))
    host_run(6, state=first[5])  # of the first start: its epochs 4 and 5 were written over by the second
    assert shown(copied(tmp_path / "run", tmp_path / "c")) == ([0, 1, 2, 3, 6], (4, 5, 7))
    host_run(0)
    assert shown(copied(tmp_path / "run", tmp_path / "d")) == ([0], (1, 2, 3, 4, 5, 6, 7))


def test_starts_that_left_no_epoch_are_no_part_of_an_identity():
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


def test_folders_of_two_runs_put_together_are_refused(host_run, tmp_path):
    host_run(*range(2))
    other = tmp_path / "other"
    (tmp_path / "run").rename(other)
    host_run(*range(4))
    shutil.copytree(other, tmp_path / "run", dirs_exist_ok=True)
    with pytest.raises(Exception, match=r"arrays of one run .* those of 2 \(epochs (0, 1; 2, 3|2, 3; 0, 1)\)"):
        inspect_run(tmp_path / "run")


def test_a_host_s_process_that_was_taken_for_dead_writes_no_more_arrays(tmp_path, capsys):
    hosts = [MiniHost({"type": "class_volume"}) for _ in range(2)]
    for host in hosts:
        host.args.output_dir = str(tmp_path)
        host.attach()
        host.epoch(0)
    assert capsys.readouterr().out.count("another process has written epoch 0") == 0
    hosts[0].epoch(1)
    assert shown(tmp_path) == ([0], ())
    assert "another process has written epoch 0" in capsys.readouterr().out


def test_the_identity_is_no_array_and_moves_no_random_generator(host_run, tmp_path):
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
    ("epochs", "first", "left"),
    [
        ([0, 1, 2, 3], 2, [0, 1]),
        ([0, 1, 2, 3], 0, []),
        ([0, 1, 2, 3], 4, [0, 1, 2, 3]),
        ([0, 1, 2, 1, 2], 2, [0, 1, 2, 1]),
        ([], 0, []),
    ],
)
def test_a_log_is_cut_where_the_epochs_begin_that_were_left(tmp_path, epochs, first, left):
    path = tmp_path / "log.txt"
    path.write_text("".join(f'{{"epoch": {epoch}}}\n' for epoch in epochs))
    cut_log(path, first)
    assert [line["epoch"] for line in lines_of(tmp_path)] == left
