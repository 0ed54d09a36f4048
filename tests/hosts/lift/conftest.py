"""LIFT's stand-in with the plug-in's lines in, run in this process."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checking import edited
from hosts.standins import installed


@dataclass
class Run:
    """A finished run: its trainer, what it printed, its folder."""

    trainer: Any
    lines: list[str]
    folder: Path

    @property
    def losses(self) -> dict[int, list[str]]:
        """Printed losses, by epoch from 1."""
        found: dict[int, list[str]] = {}
        for line in self.lines:
            if match := re.match(r"epoch \[(\d+)/.* loss (\S+)", line):
                found.setdefault(int(match[1]), []).append(match[2])
        return found

    def arrays(self, epoch: int = 1) -> Any:
        """The plug-in's arrays of an epoch, from 0."""
        return np.load(self.folder / "reweight" / f"epoch_{epoch:04d}.npz")

    @property
    def ours(self) -> list[str]:
        return [line for line in self.lines if line.startswith("[vlltr-plugin] ")]


Make = Callable[..., Run]
Build = Callable[..., Callable[[], Any]]


def change(root: Path, old: str, new: str, file: str = "trainer.py") -> None:
    """Changes a file of a checkout, as users change theirs."""
    edited(file, old, new)(root)


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    return installed("lift", tmp_path / "standin")


@pytest.fixture
def build(standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Imports the stand-in anew and gives its `main`, which trains; options as on its command line."""

    def its_modules() -> dict[str, Any]:
        return {name: sys.modules[name] for name in sys.modules if name.split(".")[0] in ("main", "trainer", "utils")}

    def forget() -> None:
        for name in its_modules():
            del sys.modules[name]

    def make(**options: Any) -> Callable[[], Any]:
        monkeypatch.syspath_prepend(str(standin))
        forget()
        importlib.invalidate_caches()
        main = importlib.import_module("main").main
        pairs = [(key.replace("reweight_", "reweight."), str(value)) for key, value in options.items()]
        listed = [part for pair in pairs for part in pair]
        return lambda: main(["output_dir", str(tmp_path / "output"), *listed])

    before = its_modules()
    yield make
    forget()
    sys.modules.update(before)


@pytest.fixture
def run(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Make:
    """Trains; `reweight_type="class_volume"` stands for `reweight.type class_volume`."""

    def make(**options: Any) -> Run:
        train = build(**options)
        capsys.readouterr()
        trainer = train()
        return Run(trainer, capsys.readouterr().out.splitlines(), tmp_path / "output")

    return make
