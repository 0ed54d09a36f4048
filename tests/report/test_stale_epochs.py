"""`inspect` of a run that was resumed at an earlier epoch than it had reached."""

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from report_lines import log_line
from run_arrays import Write, epoch_arrays

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.inspect.inspection import inspect_run
from vlltr_plugin.report.inspect.tables import findings


def write_chain(write: Write, first: int, number: int, seed: int) -> Path:
    """Epochs whose weights are those that the epoch before left, as of a real run."""
    rng = np.random.default_rng(seed)
    epochs = [epoch_arrays(rng) for _ in range(number)]
    for before, after in pairwise(epochs):
        before["next_weights_image_text"] = after["weights_image_text"]
    return write(*epochs, first=first)


def write_log(run: Path, epochs: list[int]) -> None:
    (run / "log.txt").write_text("".join(f"{json.dumps(log_line(epoch))}\n" for epoch in epochs))


@pytest.fixture
def resumed(write: Write) -> Path:
    """Epochs 0 to 9, then 5 and 6 again."""
    write_chain(write, 0, 10, seed=0)
    return write_chain(write, 5, 2, seed=1)


@pytest.mark.parametrize("with_log", [False, True])
def test_what_a_resume_left_behind_is_left_out_and_named(resumed: Path, with_log: bool) -> None:
    if with_log:
        write_log(resumed, [*range(10), 5, 6])
    (found,) = inspect_run(resumed)
    assert (found.epoch, found.series.epochs, found.stale) == (6, list(range(7)), (7, 8, 9))
    assert "Epochs left out: 7-9." in findings(found, None)[-1]
    with pytest.raises(ReportError, match=r"\(0-6\) but got 8|\(0-6\) but got 7-9"):
        inspect_run(resumed, 8)
    (earlier,) = inspect_run(resumed, 3)
    assert (earlier.epoch, earlier.stale) == (3, (7, 8, 9))


def test_the_log_knows_better_than_the_clock(resumed: Path) -> None:
    """A copied folder, all files of one time; and one that says that nothing was abandoned."""
    for path in (resumed / "reweight").iterdir():
        os.utime(path, (1e9, 1e9))
    write_log(resumed, [*range(10), 5, 6])
    assert inspect_run(resumed)[0].epoch == 6
    write_log(resumed, list(range(10)))
    assert inspect_run(resumed)[0].epoch == 9


def test_a_run_resumed_twice_and_gone_on_is_whole_again(write: Write) -> None:
    write_chain(write, 0, 10, seed=0)
    write_chain(write, 5, 2, seed=1)
    run = write_chain(write, 3, 9, seed=2)
    (found,) = inspect_run(run)
    assert (found.epoch, found.stale) == (11, ())
    write_log(run, [*range(10), 5, 6, *range(3, 12)])
    assert inspect_run(run)[0].stale == ()


def test_a_fresh_run_in_the_folder_of_a_longer_one_stands_alone(write: Write) -> None:
    write_chain(write, 0, 6, seed=0)
    run = write_chain(write, 0, 2, seed=1)
    assert (inspect_run(run)[0].series.epochs, inspect_run(run)[0].stale) == ([0, 1], (2, 3, 4, 5))


def test_a_folder_copied_in_any_order_keeps_all_epochs(write: Write) -> None:
    run = write_chain(write, 0, 8, seed=0)
    for number, path in enumerate(sorted((run / "reweight").iterdir(), reverse=True)):
        os.utime(path, (1e9 + number, 1e9 + number))
    assert inspect_run(run)[0].stale == ()


def test_a_broken_file_of_an_abandoned_epoch_does_no_harm(resumed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(resumed, [*range(10), 5, 6])
    (resumed / "reweight/epoch_0009.npz").write_bytes(b"half")
    assert main(["inspect", str(resumed)]) == 0
    assert "Epoch 6 of 0 to 6" in capsys.readouterr().out


def test_a_log_of_another_kind_leaves_the_clock_to_tell(resumed: Path) -> None:
    (resumed / "log.txt").write_text("epoch [1/10] batch [5/9] loss 3.0\n")
    assert inspect_run(resumed)[0].epoch == 6
    shutil.rmtree(resumed / "reweight")
    with pytest.raises(ReportError, match="found none"):
        inspect_run(resumed)
