"""A ready stand-in checkout in a folder, and two ways to run its `main.py`: to the end, or watched by its log."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.report.pictures import require

from .digits import write_digits

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STANDIN = Path(__file__).parent / "standin"
BASELINE = "configs/digits/finetune/digits_baseline.py"
CLASS_VOLUME = "configs/digits/finetune/digits_dv.py"
CONTROL = "configs/digits/finetune/digits_inverse.py"
ADJUSTED = "configs/digits/finetune/digits_dv_adjusted.py"

UNFINISHED = ".vlltr-demo-unfinished"
"""Marks the folder of a demo that has not ended."""

MADE = (*(path.name for path in STANDIN.iterdir()), "data", "checkpoints", "report", "__pycache__", UNFINISHED)
"""Files and folders that the demo writes at the top of its folder."""

POLL_SECONDS = 0.1

LogLine = dict[str, Any]


def make_standin(folder: str | os.PathLike[str]) -> Path:
    """Writes the stand-in checkout and its data to `folder`, without the plug-in installed in it.

    Args:
        folder: A new or empty folder.

    Returns:
        The folder.

    Raises:
        FileExistsError: `folder` holds something already.
        MissingExtraError: scikit-learn, which holds the images, is not installed; nothing was written.
    """
    checkout = Path(folder)
    refuse_filled(checkout)
    require("sklearn", extra="demo")
    shutil.copytree(STANDIN, checkout, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    write_digits(checkout / "data" / "digits")
    return checkout


def refuse_filled(folder: Path) -> None:
    """Raises FileExistsError if a folder holds anything but the mark `UNFINISHED`."""
    if folder.exists() and (not folder.is_dir() or any(path.name != UNFINISHED for path in folder.iterdir())):
        raise FileExistsError(f"Expected a new or empty folder, but {folder} holds something: name another one")


@contextmanager
def demo_folder(folder: Path) -> Iterator[Path]:
    """A new or empty folder for the demo; if the demo fails or is interrupted, its files are removed.

    A killed demo leaves the mark: the next one removes its files first. FileExistsError if the folder holds others.
    """
    if (folder / UNFINISHED).is_file():
        _clear(folder)
    refuse_filled(folder)
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    try:
        yield folder
    except BaseException:  # Ctrl-C too
        _clear(folder)
        if not was_there and not any(folder.iterdir()):
            folder.rmdir()
        raise
    (folder / UNFINISHED).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Removes what the demo makes; other files stay."""
    for name in MADE:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def main_command(config: str, *args: str, processes: int = 1) -> list[str]:
    """Returns the command that runs the stand-in's `main.py`, by torch's launcher for more than one process."""
    command = [sys.executable]
    if processes > 1:
        # The launcher binds a free port itself and keeps it: two launches at once never ask for the same one.
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command += ["--local_addr=127.0.0.1"]
    return [*command, "main.py", "--config", config, *args]


def main_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment for a run: one thread, this `vlltr_plugin` importable, and `env` over all."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **ours, **(env or {})}


def run_main(
    checkout: Path,
    config: str,
    *args: str,
    processes: int = 1,
    env: Mapping[str, str] | None = None,
    timeout: float = 300.0,
) -> list[LogLine]:
    """Runs `main.py` of a checkout to its end, on the CPU unless `args` name a device.

    Args:
        checkout: The folder of `main.py`.
        config: Path of the config, relative to the checkout.
        *args: Further arguments, as on the command line.
        processes: More than one runs under torch's launcher.
        env: Variables to set for the run.
        timeout: Seconds after which the run is given up.

    Returns:
        The lines of `log.txt` of `--output_dir` (default: `checkpoints/<config name>`), oldest first.

    Raises:
        RuntimeError: The run failed; the message holds the end of what it printed.
    """
    arguments = list(args) if "--device" in args else [*args, "--device", "cpu"]
    finished = subprocess.run(
        main_command(config, *arguments, processes=processes),
        cwd=checkout,
        env=main_environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
    )
    _require_success(finished.returncode, finished.stdout)
    output_dir = f"checkpoints/{Path(config).stem}"
    if "--output_dir" in arguments:
        output_dir = arguments[arguments.index("--output_dir") + 1]
    return read_log(checkout / output_dir / "log.txt")


def _require_success(code: int, printed: str) -> None:
    if code != 0:
        raise RuntimeError(f"main.py ended with status {code}:\n{printed[-4000:]}")


def read_log(path: Path) -> list[LogLine]:
    """Returns the JSON lines of a host's log; comments, blanks and lines torn by a killed run are left out."""
    if not path.exists():
        return []
    parsed = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            parsed.append(json.loads(line))
    return [line for line in parsed if isinstance(line, dict)]


class WatchedRun:
    """One config of the stand-in: started, perhaps stopped and started again, and shown by a progress bar."""

    def __init__(
        self, checkout: Path, config: str, epochs: int, device: str, progress: Progress, title: str, name: str
    ) -> None:
        self.checkout = checkout
        self.output_dir = checkout / "checkpoints" / name
        options = ("--epochs", str(epochs), "--device", device, "--output_dir", f"checkpoints/{name}")
        self.command = main_command(config, *options)
        self.epochs = epochs
        self.progress = progress
        self.task: TaskID = progress.add_task(title, total=epochs, start=False, loss="")

    def log(self) -> list[LogLine]:
        """Returns the lines of the run's log so far."""
        return read_log(self.output_dir / "log.txt")

    def train(self, stop_after: int | None = None) -> bool:
        """Starts the run, or goes on from its checkpoint, and waits for its end: True then.

        The run is killed as soon as its log holds `stop_after` epochs: False. RuntimeError holds the end of what a
        failed run printed.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.progress.start_task(self.task)
        console_file = self.output_dir / "console.txt"
        with console_file.open("ab") as console:
            process = subprocess.Popen(
                self.command, cwd=self.checkout, env=main_environment(), stdout=console, stderr=subprocess.STDOUT
            )
            try:
                while process.poll() is None:
                    epochs_done = self._show_progress()
                    if stop_after is not None and epochs_done >= stop_after:
                        return False
                    time.sleep(POLL_SECONDS)
            finally:  # also when the user interrupts the demo
                process.kill()
                process.wait()
        self._show_progress()
        _require_success(process.returncode, console_file.read_text(encoding="utf-8", errors="replace"))
        return True

    def _show_progress(self) -> int:
        epochs = [line for line in self.log() if "epoch" in line]
        if epochs:
            loss = f"train loss {epochs[-1]['train_loss']:.3f}"
            self.progress.update(self.task, completed=epochs[-1]["epoch"] + 1, loss=loss)
        return len(epochs)
