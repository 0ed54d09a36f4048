"""Runs of a checkout that are started, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = "configs/digits/finetune/digits_dv.py"


@dataclass
class Started:
    """A forked process."""

    nursery: "Nursery"
    pid: int
    console: Path
    status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, None while it runs; minus the signal that killed it."""
        if self.status is None:
            self.status = self.nursery.ask({"wait": self.pid})
        return self.status

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit status."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < end, f"still running after {seconds} s:\n{self.printed()[-2000:]}"
            time.sleep(0.005)
        assert self.status is not None
        return self.status

    def kill(self) -> None:
        """Kills it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def printed(self) -> str:
        """What it printed."""
        return self.console.read_text(encoding="utf-8", errors="replace")


@dataclass
class Nursery:
    """Forks runs of `main.py`, or calls of a function, from a process that has imported everything."""

    folder: Path
    for_hosts: bool = True  # what their main.py imports is there as well
    process: "subprocess.Popen[str]" = field(init=False)
    started: int = 0

    def __post_init__(self) -> None:
        paths = [str(PROJECT), str(PROJECT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # the tests share few cores
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py")), *["--for-hosts"] * self.for_hosts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def start(
        self,
        cwd: Path,
        *argv: Any,
        kill: dict[str, Any] | None = None,
        call: str | None = None,
        threads: int = 1,
        env: dict[str, str] | None = None,
    ) -> Started:
        """Start `main.py` of a folder with arguments, or `call` ("module:function") with them."""
        self.started += 1
        console = self.folder / f"console_{self.started}.txt"
        job = {"cwd": str(cwd), "argv": argv, "console": str(console), "kill": kill}
        pid = self.ask({"start": {**job, "call": call, "threads": threads, "env": env or {}}})
        return Started(self, pid, console)

    def train(self, checkout: Path, name: str, epochs: int, *more: str, **options: Any) -> Started:
        """Start a class-volume run of the stand-in in `checkpoints/<name>`, or go on with it."""
        arguments = ("--device", "cpu", "--epochs", str(epochs), "--output_dir", f"checkpoints/{name}")
        return self.start(checkout, "--config", CONFIG, *arguments, *more, **options)

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request; returns the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
