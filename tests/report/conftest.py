import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from report_lines import log_line
from run_arrays import run, write  # noqa: F401  (fixtures of the tests of inspect)

from vlltr_plugin.demo import BASELINE, CLASS_VOLUME, make_standin, run_main
from vlltr_plugin.install import install


@pytest.fixture
def write_run(tmp_path) -> Callable[..., Path]:
    """Writes a run's folder: `log.txt` from lines (or text), and a checkpoint with arguments unless told otherwise."""

    def make(name: str, lines: Any = None, args: dict[str, Any] | None = None, stdout: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        if lines is None:
            lines = [log_line(0), log_line(1), log_line(None)]
        text = lines if isinstance(lines, str) else "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / "log.txt").write_text(text)
        if args is not None:
            torch.save({"args": argparse.Namespace(**args), "model": {"w": torch.ones(3)}}, folder / "checkpoint.pth")
        if stdout:
            (folder / "train.log").write_text(stdout)
        return folder

    return make


@pytest.fixture(scope="session")
def host_runs(tmp_path_factory) -> Path:
    """Runs of the stand-in: `baseline`; `resumed` after each epoch; `torn`, killed in mid-line and started again."""
    checkout = make_standin(tmp_path_factory.mktemp("host_runs") / "standin")
    install(checkout)
    runs = checkout / "checkpoints"
    run_main(checkout, BASELINE, "--epochs", "2", "--output_dir", "checkpoints/baseline")
    run_main(checkout, CLASS_VOLUME, "--epochs", "1", "--output_dir", "checkpoints/resumed")
    shutil.copytree(runs / "resumed", runs / "torn")
    log = runs / "torn" / "log.txt"
    log.write_text(log.read_text()[:-150])
    for name in ("resumed", "torn"):
        run_main(checkout, CLASS_VOLUME, "--epochs", "2", "--output_dir", f"checkpoints/{name}")
    return runs
