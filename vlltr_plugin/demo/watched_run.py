"""A run of the stand-in's `main.py` as a child process, watched through its log."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from rich.progress import Progress, TaskID

from .standin_checkout import LogLine, main_command, main_environment, read_log

POLL_SECONDS = 0.1


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

    @property
    def console_file(self) -> Path:
        """What the run prints."""
        return self.output_dir / "console.txt"

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
        with self.console_file.open("ab") as console:
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
        if process.returncode != 0:
            printed = self.console_file.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"main.py ended with status {process.returncode}:\n{printed[-4000:]}")
        return True

    def _show_progress(self) -> int:
        epochs = [line for line in self.log() if "epoch" in line]
        if epochs:
            loss = f"train loss {epochs[-1]['train_loss']:.3f}"
            self.progress.update(self.task, completed=epochs[-1]["epoch"] + 1, loss=loss)
        return len(epochs)
