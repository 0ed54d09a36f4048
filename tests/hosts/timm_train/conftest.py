"""The stand-in for timm's train.py, run in this process."""

import csv
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hosts.standins import installed


@dataclass
class Run:
    """A finished run: its folder, and what the plug-in said."""

    folder: Path
    said: list[str]

    @property
    def rows(self) -> list[dict[str, str]]:
        """The epochs of summary.csv, without the plug-in's numbers."""
        with (self.folder / "summary.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [{name: value for name, value in row.items() if "reweight" not in name} for row in rows]


Train = Callable[..., Run]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return installed("timm_train", tmp_path / "standin")


@pytest.fixture
def train(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs train.py with arguments as on its command line; `name` is that of the output folder."""

    def run(arguments: str = "", name: str = "run", root: Path = checkout) -> Run:
        output = tmp_path / name
        monkeypatch.setattr(sys, "argv", ["train.py", "--output", str(output), *arguments.split()])
        capsys.readouterr()
        runpy.run_path(str(root / "train.py"), run_name="__main__")
        return Run(output, re.findall(r"(?m)^\[vlltr-plugin\] (.*)$", capsys.readouterr().out))

    return run
