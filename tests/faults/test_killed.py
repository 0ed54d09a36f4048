"""kill -9 of a run, of one of two ranks, of the real host: started again, each goes on from its last whole epoch."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.kill_switch import MOMENTS
from faults.recovery import recovers, visible_files_are_whole
from faults.runs import CONFIG, Nursery, Started
from real_host.layout import prepare_checkout, write_data
from real_host.runner import LAUNCH, PROJECT, SMALL, run_host, write_config

from vlltr_plugin.demo import read_log
from vlltr_plugin.demo.standin_checkout import main_command, main_environment
from vlltr_plugin.install import install

EPOCHS = 3
STEPS = 8  # of an epoch, at least
PER_EPOCH = {"step": STEPS, "replace": 2}  # how often a moment comes in an epoch: once, but for these
SLOW_TRIES = 50


@pytest.fixture(scope="module")
def whole(nursery: Nursery, standin: Path) -> tuple[Path, float]:
    """A run that nobody kills, and the seconds that it took."""
    start = time.monotonic()
    nursery.train_whole(standin, "whole", EPOCHS)
    return standin / "checkpoints" / "whole", time.monotonic() - start


def killed_and_started_again(nursery: Nursery, standin: Path, whole: Path, name: str, how: str) -> int | None:
    """Checks what the kill left, starts again, checks what came; the last whole epoch at the kill."""
    folder = standin / "checkpoints" / name
    state = visible_files_are_whole(folder)
    print(how)
    printed = nursery.train_whole(standin, name, EPOCHS)
    assert ("starting anew" if state is None else f"next epoch {state['epoch'] + 1}") in printed
    recovers(folder, whole, EPOCHS, state)
    return None if state is None else state["epoch"]


def try_moment(nursery: Nursery, standin: Path, whole: Path, moment: str, seed: int) -> int | None:
    draw = random.Random(f"{moment} {seed}")
    kill = {"moment": moment, "number": draw.randrange(EPOCHS * PER_EPOCH.get(moment, 1)), "share": draw.random()}
    name = f"{moment}_{seed}"
    started = nursery.train(standin, name, EPOCHS, kill=kill)
    assert started.wait() == -9, started.printed()
    return killed_and_started_again(nursery, standin, whole, name, str(kill))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_this_moment_resumes(
    nursery: Nursery, standin: Path, whole: tuple[Path, float], moment: str
) -> None:
    try_moment(nursery, standin, whole[0], moment, seed=0)


@pytest.mark.slow
def test_fifty_runs_killed_at_random_moments_resume(nursery: Nursery, standin: Path, whole: tuple[Path, float]) -> None:
    last = [try_moment(nursery, standin, whole[0], MOMENTS[seed % len(MOMENTS)], seed) for seed in range(1, 31)]
    draw = random.Random(0)
    for seed in range(len(last), SLOW_TRIES):
        name, seconds = f"timed_{seed}", draw.uniform(0, whole[1])
        started = nursery.train(standin, name, EPOCHS)
        time.sleep(seconds)
        started.kill()
        last.append(killed_and_started_again(nursery, standin, whole[0], name, f"after {seconds:.3f} s"))
    print(f"last whole epoch at the kill, in {len(last)} tries: {last}")
    assert set(last) >= {None, 0, 1}


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
def whole_ranks(nursery: Nursery, standin: Path) -> Path:
    """A run of two ranks that nobody kills."""
    ranks = two_ranks(nursery, standin, "two_whole")
    assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].printed()
    return standin / "checkpoints" / "two_whole"


@pytest.mark.parametrize(("moment", "number"), [("step", 8), ("end_epoch", 1)])
def test_the_other_rank_ends_with_an_error_and_both_resume(
    nursery: Nursery, standin: Path, whole_ranks: Path, moment: str, number: int
) -> None:
    ranks = two_ranks(nursery, standin, moment, {"moment": moment, "number": number, "share": 0.2})
    assert ranks[1].wait() == -signal.SIGKILL, ranks[1].printed()
    died = time.monotonic()
    assert ranks[0].wait(A_MINUTE) == 1
    print(f"{moment}: the other rank ended {time.monotonic() - died:.1f} s later")
    assert "Error" in ranks[0].printed()
    state = visible_files_are_whole(standin / "checkpoints" / moment)
    again = two_ranks(nursery, standin, moment)
    assert [rank.wait() for rank in again] == [0, 0], again[0].printed()
    recovers(standin / "checkpoints" / moment, whole_ranks, EPOCHS, state)


@pytest.mark.slow
def test_ranks_of_a_launcher_resume_after_a_kill(standin: Path, whole_ranks: Path) -> None:
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
    recovers(folder, whole_ranks, EPOCHS, state)


DV = "configs/class_volume/imagenet_lt_r50_dv.py"
KILLS = [
    {"moment": "step", "number": 20, "share": 0.7},
    {"moment": "arrays", "number": 1, "share": 0.5},
    {"moment": "checkpoint", "number": 1, "share": 0.5},
    {"moment": "checkpoint", "number": 2, "share": 1.0},
    {"moment": "log", "number": 1, "share": 0.5},
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    data = write_data(folder / "data")
    copy = prepare_checkout(Path(os.environ["VLLTR_CHECKOUT"]), folder / "VL-LTR", data)
    install(copy)
    return copy


@pytest.fixture(scope="module")
def whole_host(checkout: Path) -> Path:
    """A run that nobody kills."""
    return run_host(checkout, write_config(checkout, "whole", DV, epochs=EPOCHS)).folder


@pytest.mark.slow
@pytest.mark.skipif("VLLTR_CHECKOUT" not in os.environ, reason="VLLTR_CHECKOUT names no clean VL-LTR clone")
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill['moment']}-{kill['number']}-{kill['share']}")
def test_the_real_host_resumes_from_its_last_whole_epoch(
    checkout: Path, whole_host: Path, kill: dict[str, object]
) -> None:
    config = write_config(checkout, f"{kill['moment']}_{kill['number']}", DV, epochs=EPOCHS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "KILL": json.dumps(kill)}
    environment["PYTHONPATH"] = str(PROJECT)

    def launch(script: Path, status: int) -> str:
        command = [sys.executable, str(script), "--config", config, *SMALL]
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    launch(Path(__file__).with_name("killed_launch.py"), -9)
    folder = checkout / "checkpoints" / Path(config).stem
    state = visible_files_are_whole(folder)
    printed = launch(LAUNCH, 0)
    if state is not None:
        assert f"resumed the weights in force from epoch {state['epoch'] + 1} on" in printed
    recovers(folder, whole_host, EPOCHS, state)
