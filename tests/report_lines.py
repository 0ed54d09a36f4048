"""Made-up lines of a host's log, settings, and refused commands, for the tests of the reports."""

from pathlib import Path
from typing import Any

import pytest

from vlltr_plugin.cli import main
from vlltr_plugin.report.compare import Comparison, compare, load_all

KEYS = (
    *("loss", "loss0", "loss1", "acc0_1", "acc0_5", "acc1_1", "acc1_5", "acc1", "acc5"),
    *("many", "median", "low", "10-shot", "5-shot"),
)
SETTINGS = {"data_set": "IMNET_LT", "model": "LGR_r50", "epochs": 2, "batch_size": 128, "lr": 1e-3, "nb_classes": 1000}
PNG = b"\x89PNG\r\n\x1a\n"

OURS = {"train_reweight_alpha_max": 1.0, "train_reweight_seconds": 0.5}
"""What a re-weighted run adds to the line of an epoch, here of one whose weights are all 1."""


def log_line(epoch: int | None, start: float = 10.0, **values: float) -> dict[str, Any]:
    """A line of a log with every key of the host's; all numbers differ."""
    base = start + (epoch or 0) * 0.125
    line: dict[str, Any] = {f"test_{key}": base + number for number, key in enumerate(KEYS)}
    if epoch is not None:
        line = {"train_loss": base / 7, "train_lr": 1e-3, **line, "epoch": epoch, "n_parameters": 123}
    return {**line, **{f"test_{key}": value for key, value in values.items()}}


def compared(*runs: str | Path) -> Comparison:
    """Runs beside the first one, as the command line names them."""
    return compare(load_all([str(run) for run in runs]))


def files(folder: Path) -> set[Path]:
    """Every file and folder below, without what Python compiled."""
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def refused(capture: pytest.CaptureFixture[str], folder: Path, *arguments: str | Path) -> str:
    """The one line of a command's error; nothing was printed, and nothing written into the folder."""
    capture.readouterr()
    before = files(folder)
    assert main([str(argument) for argument in arguments]) == 2
    captured = capture.readouterr()
    (line,) = (text for text in captured.err.splitlines() if text.strip())
    assert line.startswith("vlltr-plugin: error: ")
    assert captured.out == ""
    assert files(folder) == before
    return line
