"""Runs a prepared checkout and reads its log."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = Path(__file__).with_name("launch.py")
LOSSES = ("train_loss", "train_loss0", "train_loss1", "test_loss", "test_loss0", "test_loss1")
SMALL = ("--device", "cpu", "--num_workers", "0", "--input-size", "32", "--sent-length", "2")


@dataclass(frozen=True)
class HostRun:
    log: list[dict[str, Any]]  # the JSON lines of `log.txt`, those of earlier runs of the same config included
    stdout: str  # both output streams
    folder: Path  # the run's output folder

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return [line for line in self.log if "epoch" in line]


def write_config(checkout: Path, name: str, base: str, **values: Any) -> str:
    """Writes a config that extends another one, as a config's values win over the command line; its path there.

    The name without `.py` names the output folder too. Without other values: 2 epochs of batches of 16.
    """
    path = checkout / "configs" / "real_host" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    values = {"epochs": 2, "batch_size": 16, **values}
    relative = os.path.relpath(checkout / base, path.parent)
    path.write_text(f"_base_ = {relative!r}\ncfg = dict(**{values!r})\n", encoding="utf-8")
    return str(path.relative_to(checkout))


def run_host(
    checkout: Path,
    config: str,
    *cli_args: str,
    processes: int = 1,
    module: str = "torch.distributed.run",
    timeout_s: float = 300,
    launch: tuple[str, ...] = (str(LAUNCH),),
) -> HostRun:
    """Runs the host's main.py with small towers on the CPU; more than one process with gloo, by a launcher module.

    `launch` is the script that runs main.py, with arguments of its own. AssertionError, with the end of the output, if
    the run fails.
    """
    command = [sys.executable]
    if processes > 1:
        command += ["-m", module, "--standalone", "--local_addr=127.0.0.1", f"--nproc_per_node={processes}"]
    command += [*launch, "--config", config, *SMALL, *cli_args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{output[-6000:]}"
    folder = checkout / "checkpoints" / Path(config).stem
    return HostRun(read_log(folder / "log.txt"), output, folder)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a log; the host also writes blank lines and lines that start with `#`."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
