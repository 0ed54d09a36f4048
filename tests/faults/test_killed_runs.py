"""kill -9 at any moment of a run: started again, it goes on by itself from the last whole epoch."""

import random
import time
from pathlib import Path

import pytest
from faults.kill_switch import MOMENTS
from faults.recovery import recovers, visible_files_are_whole
from faults.runs import Nursery

EPOCHS = 3
STEPS = 8  # of an epoch, at least
PER_EPOCH = {"step": STEPS, "replace": 2}  # how often a moment comes in an epoch: once, but for these
SLOW_TRIES = 50


@pytest.fixture(scope="module")
def whole(nursery: Nursery, standin: Path) -> tuple[Path, float]:
    """A run that nobody kills, and the seconds that it took."""
    start = time.monotonic()
    started = nursery.train(standin, "whole", EPOCHS)
    assert started.wait() == 0, started.printed()
    return standin / "checkpoints" / "whole", time.monotonic() - start


def killed_and_started_again(nursery: Nursery, standin: Path, whole: Path, name: str, how: str) -> int | None:
    """Checks what the kill left, starts again, checks what came; the last whole epoch at the kill."""
    folder = standin / "checkpoints" / name
    state = visible_files_are_whole(folder)
    again = nursery.train(standin, name, EPOCHS)
    assert again.wait() == 0, f"{how}\n{again.printed()[-3000:]}"
    assert ("starting anew" if state is None else f"next epoch {state['epoch'] + 1}") in again.printed()
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
def test_a_run_killed_at_this_moment_goes_on(
    nursery: Nursery, standin: Path, whole: tuple[Path, float], moment: str
) -> None:
    try_moment(nursery, standin, whole[0], moment, seed=0)


@pytest.mark.slow
def test_fifty_runs_killed_at_random_moments_go_on(nursery: Nursery, standin: Path, whole: tuple[Path, float]) -> None:
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
