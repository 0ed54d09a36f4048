"""`inspect` of a folder that holds more than the epochs of its last run."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from report_lines import OURS, log_line
from run_arrays import epoch_arrays

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.inspect import findings, inspect_run
from vlltr_plugin.runs.epoch_files import EpochWriter, RunIdentity

SEEDS = iter(range(100))
RESUMED = [*range(10), 5, 6]


def started(run, epochs: range, before: RunIdentity | None = None) -> RunIdentity:
    """A start of a run that writes epochs; `before` is the start that it goes on from."""
    writer, rng = EpochWriter(run), np.random.default_rng(next(SEEDS))
    writer.resume_from(before)
    for epoch in epochs:
        writer.begin(epoch)
        writer.write(epoch, {key: torch.as_tensor(np.asarray(array)) for key, array in epoch_arrays(rng).items()})
    assert writer.run is not None
    return writer.run


def write_log(run, epochs: list[int]):
    (run / "log.txt").write_text("".join(f"{json.dumps(log_line(epoch) | OURS)}\n" for epoch in epochs))


def shuffle_times(run, seed):
    """As a copy without times leaves them."""
    files = sorted((run / "reweight").iterdir())
    for place, number in enumerate(np.random.default_rng(seed).permutation(len(files))):
        os.utime(files[place], (1e9 + number, 1e9 + number))


def shown(run):
    (found,) = inspect_run(run)
    assert found.epoch == found.series.epochs[-1]
    return found.series.epochs, found.stale


@pytest.fixture
def resumed(tmp_path):
    """Epochs 0 to 9, then 5 and 6 again."""
    started(tmp_path / "run", range(5, 7), started(tmp_path / "run", range(10)))
    return tmp_path / "run"


@pytest.mark.parametrize("log", [None, RESUMED, [*range(10)]])  # the last is of a run killed before its log line
@pytest.mark.parametrize("seed", range(3))
def test_epochs_discarded_by_a_resume_are_left_out_and_named(resumed, log, seed):
    if log is not None:
        write_log(resumed, log)
    shuffle_times(resumed, seed)
    assert shown(resumed) == (list(range(7)), (7, 8, 9))
    assert "Epochs left out: 7-9." in findings(inspect_run(resumed)[0], None)[-1]
    with pytest.raises(ReportError, match=r"\(0-6\) but got 7-9"):
        inspect_run(resumed, 8)
    (earlier,) = inspect_run(resumed, 3)
    assert (earlier.epoch, earlier.stale) == (3, (7, 8, 9))


def test_epochs_overwritten_without_re_weighting_are_known_from_the_log(tmp_path):
    started(tmp_path, range(10))
    write_log(tmp_path, RESUMED)
    assert shown(tmp_path)[1] == (7, 8, 9)


def test_a_run_resumed_twice_has_all_its_epochs(tmp_path):
    second = started(tmp_path, range(5, 7), started(tmp_path, range(10)))
    started(tmp_path, range(3, 12), second)
    assert shown(tmp_path) == (list(range(12)), ())
    write_log(tmp_path, [*RESUMED, *range(3, 12)])
    assert shown(tmp_path) == (list(range(12)), ())


@pytest.mark.parametrize("seed", range(3))
def test_a_new_run_in_the_folder_of_a_longer_one_excludes_the_old_epochs(tmp_path, seed):
    started(tmp_path, range(6))
    started(tmp_path, range(2))
    shuffle_times(tmp_path, seed)
    assert shown(tmp_path) == ([0, 1], (2, 3, 4, 5))


def test_epochs_missing_in_a_run_are_no_sign_of_another(tmp_path):
    """As a full disk leaves them."""
    started(tmp_path, range(8))
    for epoch in (2, 5):
        (tmp_path / f"reweight/epoch_{epoch:04d}.npz").unlink()
    assert shown(tmp_path) == ([0, 1, 3, 4, 6, 7], ())


def test_arrays_without_an_identity_are_matched_by_the_log_not_by_file_times(write):
    rng = np.random.default_rng(0)
    run = write(*(epoch_arrays(rng) for _ in range(10)))
    write(*(epoch_arrays(rng) for _ in range(2)), first=5)
    shuffle_times(run, 0)
    assert shown(run) == (list(range(10)), ())
    write_log(run, RESUMED)
    assert shown(run) == (list(range(7)), (7, 8, 9))
    started(run, range(2))
    (run / "log.txt").unlink()
    assert shown(run) == ([0, 1], tuple(range(2, 10)))


def test_a_broken_file_of_an_abandoned_epoch_and_a_log_that_cannot_be_read_change_nothing(resumed, capsys):
    write_log(resumed, RESUMED)
    (resumed / "reweight/epoch_0009.npz").write_bytes(b"half")
    assert main(["inspect", str(resumed)]) == 0
    assert "Epoch 6 of 0 to 6" in capsys.readouterr().out
    (resumed / "reweight/epoch_0009.npz").unlink()
    (resumed / "log.txt").write_text("epoch [1/10] batch [5/9] loss 3.0\n")
    assert shown(resumed) == (list(range(7)), (7, 8))
    shutil.rmtree(resumed / "reweight")
    with pytest.raises(ReportError, match="found none"):
        inspect_run(resumed)
