"""Runs of a checkout that are started, killed and started again: forks of a process that has imported everything."""

import importlib
import multiprocessing
import os
import runpy
import sys
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from faults import kill_switch

CONFIG = "configs/digits/finetune/digits_dv.py"
FORKSERVER = multiprocessing.get_context("forkserver")
OF_HOSTS = ("vlltr_plugin.compat", "torchvision", "timm.data", "timm.loss", "timm.models", "timm.scheduler")


def run(cwd: str, argv: tuple[Any, ...], console: str, call: str | None, **options: Any) -> None:
    """In the forked process: `main.py` with arguments, or a function of a module."""
    opened = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(opened, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1) for number in (1, 2))
    os.chdir(cwd)
    os.environ.update(options["env"])
    torch.set_num_threads(options["threads"])
    if options["kill"] is not None:
        kill_switch.arm(**options["kill"])
    if call is not None:
        module, _, function = call.partition(":")
        getattr(importlib.import_module(module), function)(*argv)
    else:
        sys.argv = ["main.py", *argv]
        sys.path.insert(0, cwd)
        runpy.run_path("main.py", run_name="__main__")


@dataclass
class Started:
    """A forked process."""

    process: ForkServerProcess
    console: Path

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs; minus the signal that killed it."""
        return self.process.exitcode

    def wait(self, seconds: float = 120.0) -> int:
        self.process.join(seconds)
        assert self.status is not None, f"still running after {seconds} s:\n{self.printed()[-2000:]}"
        return self.status

    def kill(self) -> None:
        """Kills it, if it still runs."""
        self.process.kill()
        self.wait()

    def printed(self) -> str:
        return self.console.read_text(encoding="utf-8", errors="replace")


class Nursery:
    """Starts runs of `main.py`, or calls of a function; what they print is in files of a folder."""

    def __init__(self, folder: Path, for_hosts: bool = True) -> None:
        self.folder, self.started = folder, 0
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the tests share few cores
        FORKSERVER.set_forkserver_preload(["torch", "vlltr_plugin.install", *OF_HOSTS * for_hosts])

    def start(
        self,
        cwd: Path,
        *argv: Any,
        kill: dict[str, Any] | None = None,
        call: str | None = None,
        threads: int = 1,
        env: dict[str, str] | None = None,
    ) -> Started:
        """Starts `main.py` of a folder with arguments, or `call` ("module:function") with them."""
        self.started += 1
        console = self.folder / f"console_{self.started}.txt"
        console.touch()
        quiet = {"CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
        options = {"kill": kill, "threads": threads, "env": {**os.environ, **quiet, **(env or {})}}
        process = FORKSERVER.Process(target=run, args=(str(cwd), argv, str(console), call), kwargs=options)
        process.start()
        return Started(process, console)


@dataclass
class StandIn:
    """A stand-in checkout with the plug-in in it, for class-volume runs, each in a folder of its own."""

    nursery: Nursery
    checkout: Path

    def folder(self, name: str) -> Path:
        return self.checkout / "checkpoints" / name

    def start(self, name: str, epochs: int, *more: str, **options: Any) -> Started:
        """Starts a run, or goes on with it."""
        arguments = ("--device", "cpu", "--epochs", str(epochs), "--output_dir", f"checkpoints/{name}")
        return self.nursery.start(self.checkout, "--config", CONFIG, *arguments, *more, **options)

    def train(self, name: str, epochs: int, **options: Any) -> str:
        """What such a run prints, which ends without error."""
        started = self.start(name, epochs, **options)
        assert started.wait() == 0, started.printed()
        return started.printed()
