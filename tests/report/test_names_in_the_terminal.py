"""Names of runs and classes are printed as they are, also those that rich would take for an emoji."""

import json

import numpy as np
import pytest

from vlltr_plugin.cli import main

NAME = "a:100:b"


def test_compare_prints_them(write_run, capsys):
    runs = [f"{name}={write_run(name.replace(':', ''))}" for name in ("base", NAME)]
    assert main(["compare", *runs, "--out", str(write_run(":on:"))]) == 0
    printed = capsys.readouterr().out
    assert NAME in printed
    assert ":on:/report.md" in printed


def test_evaluate_prints_them(tmp_path, capsys):
    pytest.importorskip("torchmetrics")
    labels = np.repeat(np.arange(4), 5)
    np.savez(
        tmp_path / f"{NAME}.npz", logits=np.eye(4)[labels], labels=labels, counts=[9, 9, 9, 9],
        names=np.array([f"{NAME}{number}" for number in range(4)]),
    )  # fmt: skip
    assert main(["evaluate", "--logits", str(tmp_path / f"{NAME}.npz")]) == 0
    printed = capsys.readouterr().out
    assert f"{NAME}0" in printed
    assert f"{NAME}/evaluation.json" in printed


def test_inspect_prints_them(run, tmp_path, capsys):
    (tmp_path / "data/some").mkdir(parents=True)
    names = [{"name": f"{NAME}{number}"} for number in range(12)]
    (tmp_path / "data/some/categories.json").write_text(json.dumps(names))
    (tmp_path / "main.py").touch()
    assert main(["inspect", str(run)]) == 0
    assert f"{NAME}8 (8)" in capsys.readouterr().out
