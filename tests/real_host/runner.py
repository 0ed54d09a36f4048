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
SMALL = ("--device", "cpu", "--num_workers", "0", "--input-size", "32", "--sent-length", "2")


@dataclass(frozen=True)
class HostRun:
    """What one run of the host left.

    Attributes:
        log: The JSON lines of `log.txt`, those of earlier runs of the same config included.
        stdout: Both output streams.
        folder: The run's output folder.
    """

    log: list[dict[str, Any]]
    stdout: str
    folder: Path

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The log lines of training epochs."""
        return [line for line in self.log if "epoch" in line]


def write_config(checkout: Path, name: str, base: str, **values: Any) -> str:
    """Write a config that extends another one, since a config's values win over the command line.

    Args:
        checkout: A prepared checkout.
        name: The config's name without `.py`; it names the output folder too.
        base: The config to extend, relative to the checkout.
        **values: What differs; 2 epochs of batches of 16 unless given.

    Returns:
        The config's path relative to the checkout.
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
    """Run the host's main.py with small towers on the CPU.

    Args:
        checkout: A prepared checkout whose main.py imports what a current stack needs.
        config: A config relative to the checkout.
        *cli_args: More arguments for main.py; they come last.
        processes: More than one runs under a launcher, with gloo.
        module: The launcher.
        timeout_s: Give up after so many seconds.
        launch: The script that runs main.py, and arguments of its own.

    Returns:
        The log and the output.

    Raises:
        AssertionError: The run failed; the message holds the end of its output.
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
    """Return the JSON lines of a log; the host also writes blank lines and lines that start with `#`."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
