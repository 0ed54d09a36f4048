"""The real host, killed and started again, where VLLTR_CHECKOUT names a clean clone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.recovery import recovers, visible_files_are_whole
from real_host.layout import prepare_checkout, write_data
from real_host.runner import LAUNCH, PROJECT, SMALL, run_host, write_config

from vlltr_plugin.install import install

DV = "configs/class_volume/imagenet_lt_r50_dv.py"
EPOCHS = 3
KILLS = [
    {"moment": "step", "number": 20, "share": 0.7},
    {"moment": "arrays", "number": 1, "share": 0.5},
    {"moment": "checkpoint", "number": 1, "share": 0.5},
    {"moment": "checkpoint", "number": 2, "share": 1.0},
    {"moment": "log", "number": 1, "share": 0.5},
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("VLLTR_CHECKOUT" not in os.environ, reason="VLLTR_CHECKOUT names no clean VL-LTR clone"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    data = write_data(folder / "data")
    copy = prepare_checkout(Path(os.environ["VLLTR_CHECKOUT"]), folder / "VL-LTR", data)
    install(copy)
    return copy


@pytest.fixture(scope="module")
def whole(checkout: Path) -> Path:
    """A run that nobody kills."""
    return run_host(checkout, write_config(checkout, "whole", DV, epochs=EPOCHS)).folder


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill['moment']}-{kill['number']}-{kill['share']}")
def test_the_real_host_goes_on_from_its_last_whole_epoch(checkout: Path, whole: Path, kill: dict[str, object]) -> None:
    config = write_config(checkout, f"{kill['moment']}_{kill['number']}", DV, epochs=EPOCHS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "KILL": json.dumps(kill)}
    environment["PYTHONPATH"] = str(PROJECT)
    command = [sys.executable, str(Path(__file__).with_name("killed_launch.py")), "--config", config, *SMALL]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stdout + done.stderr
    folder = checkout / "checkpoints" / Path(config).stem
    state = visible_files_are_whole(folder)
    command[1] = str(LAUNCH)
    again = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    if state is not None:
        assert f"resumed the weights in force from epoch {state['epoch'] + 1} on" in again.stdout
    recovers(folder, whole, EPOCHS, state)
