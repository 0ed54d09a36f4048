"""kill -9 of one of two ranks: the other ends with an error, and both go on together when started again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from faults.recovery import recovers, visible_files_are_whole
from faults.runs import CONFIG, Nursery, Started

from vlltr_plugin.demo import read_log
from vlltr_plugin.demo.standin_checkout import main_command, main_environment

EPOCHS = 3
A_MINUTE = 60.0


def two_ranks(nursery: Nursery, standin: Path, name: str, kill: dict[str, object] | None = None) -> list[Started]:
    """Both ranks of a run, without a launcher that would end the other; rank 1 may be killed."""
    meet = ("--dist_url", f"file://{nursery.folder}/meet_{nursery.started}")
    worlds = [{"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [
        nursery.train(standin, name, EPOCHS, *meet, env=env, kill=kill)
        for env, kill in zip(worlds, (None, kill), strict=True)
    ]


@pytest.fixture(scope="module")
def whole(nursery: Nursery, standin: Path) -> Path:
    """A run of two ranks that nobody kills."""
    ranks = two_ranks(nursery, standin, "two_whole")
    assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].printed()
    return standin / "checkpoints" / "two_whole"


@pytest.mark.parametrize("moment", ["step", "end_epoch"])
def test_the_other_rank_ends_with_an_error_and_both_go_on(
    nursery: Nursery, standin: Path, whole: Path, moment: str
) -> None:
    number = {"step": 8, "end_epoch": 1}[moment]
    ranks = two_ranks(nursery, standin, moment, {"moment": moment, "number": number, "share": 0.2})
    assert ranks[1].wait() == -signal.SIGKILL, ranks[1].printed()
    died = time.monotonic()
    assert ranks[0].wait(A_MINUTE) == 1
    print(f"{moment}: the other rank ended {time.monotonic() - died:.1f} s later")
    assert "Error" in ranks[0].printed()
    state = visible_files_are_whole(standin / "checkpoints" / moment)
    again = two_ranks(nursery, standin, moment)
    assert [rank.wait() for rank in again] == [0, 0], again[0].printed()
    recovers(standin / "checkpoints" / moment, whole, EPOCHS, state)


@pytest.mark.slow
def test_under_the_launcher_too(standin: Path, whole: Path) -> None:
    folder = standin / "checkpoints" / "launched"
    options = ("--device", "cpu", "--epochs", str(EPOCHS), "--output_dir", "checkpoints/launched")

    def launch() -> "subprocess.Popen[bytes]":
        command = main_command(CONFIG, *options, processes=2)
        return subprocess.Popen(command, cwd=standin, env=main_environment({"CUDA_VISIBLE_DEVICES": ""}))

    launcher = launch()
    while not read_log(folder / "log.txt"):
        assert launcher.poll() is None
        time.sleep(0.05)
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert launcher.wait(A_MINUTE) != 0
    state = visible_files_are_whole(folder)
    assert launch().wait(300) == 0
    recovers(folder, whole, EPOCHS, state)
