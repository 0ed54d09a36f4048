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
from faults.runs import CONFIG, StandIn, Started
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
def whole(standin: StandIn) -> float:
    """A run that nobody kills; the seconds that it took."""
    start = time.monotonic()
    standin.train("whole", EPOCHS)
    return time.monotonic() - start


def started_again(standin: StandIn, name: str) -> int | None:
    """Checks what the kill left, starts again, checks what came; the last whole epoch at the kill."""
    state = visible_files_are_whole(standin.folder(name))
    printed = standin.train(name, EPOCHS)
    assert ("starting anew" if state is None else f"next epoch {state['epoch'] + 1}") in printed
    recovers(standin.folder(name), standin.folder("whole"), EPOCHS, state)
    return None if state is None else state["epoch"]


def try_moment(standin: StandIn, moment: str, seed: int) -> int | None:
    draw, name = random.Random(f"{moment} {seed}"), f"{moment}_{seed}"
    kill = {"moment": moment, "number": draw.randrange(EPOCHS * PER_EPOCH.get(moment, 1)), "share": draw.random()}
    print(kill)
    started = standin.start(name, EPOCHS, kill=kill)
    assert started.wait() == -9, started.printed()
    return started_again(standin, name)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_this_moment_resumes(standin: StandIn, moment: str) -> None:
    try_moment(standin, moment, seed=0)


@pytest.mark.slow
def test_fifty_runs_killed_at_random_moments_resume(standin: StandIn, whole: float) -> None:
    last = [try_moment(standin, [*MOMENTS][seed % len(MOMENTS)], seed) for seed in range(1, 31)]
    draw = random.Random(0)
    for seed in range(len(last), SLOW_TRIES):
        seconds = draw.uniform(0, whole)
        print(f"killed after {seconds:.3f} s")
        started = standin.start(f"timed_{seed}", EPOCHS)
        time.sleep(seconds)
        started.kill()
        last.append(started_again(standin, f"timed_{seed}"))
    print(f"last whole epoch at the kill, in {len(last)} tries: {last}")
    assert set(last) >= {None, 0, 1}


A_MINUTE = 60.0


def two_ranks(standin: StandIn, name: str, kill: dict[str, object] | None = None) -> list[Started]:
    """Both ranks of a run, without a launcher that would end the other; rank 1 may be killed."""
    meet = f"file://{standin.nursery.folder}/meet_{standin.nursery.started}"
    worlds = [{"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    ranks = zip(worlds, (None, kill), strict=True)
    return [standin.start(name, EPOCHS, "--dist_url", meet, env=env, kill=kill) for env, kill in ranks]


def train_two_ranks(standin: StandIn, name: str) -> None:
    ranks = two_ranks(standin, name)
    assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].printed()


@pytest.fixture(scope="module")
def whole_ranks(standin: StandIn) -> Path:
    """A run of two ranks that nobody kills."""
    train_two_ranks(standin, "two_whole")
    return standin.folder("two_whole")


@pytest.mark.parametrize(("moment", "number"), [("step", 8), ("end_epoch", 1)])
def test_the_other_rank_ends_with_an_error_and_both_resume(
    standin: StandIn, whole_ranks: Path, moment: str, number: int
) -> None:
    ranks = two_ranks(standin, moment, {"moment": moment, "number": number, "share": 0.2})
    assert ranks[1].wait() == -signal.SIGKILL, ranks[1].printed()
    assert ranks[0].wait(A_MINUTE) == 1
    assert "Error" in ranks[0].printed()
    state = visible_files_are_whole(standin.folder(moment))
    train_two_ranks(standin, moment)
    recovers(standin.folder(moment), whole_ranks, EPOCHS, state)


@pytest.mark.slow
def test_ranks_of_a_launcher_resume_after_a_kill(standin: StandIn, whole_ranks: Path) -> None:
    folder = standin.folder("launched")
    options = ("--device", "cpu", "--epochs", str(EPOCHS), "--output_dir", "checkpoints/launched")

    def launch() -> "subprocess.Popen[bytes]":
        command = main_command(CONFIG, *options, processes=2)
        return subprocess.Popen(command, cwd=standin.checkout, env=main_environment({"CUDA_VISIBLE_DEVICES": ""}))

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
