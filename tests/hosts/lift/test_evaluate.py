"""`vlltr-plugin evaluate` on LIFT's stand-in: its own test, in its own process, with the checkpoint in its model."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts.lift.conftest import STANDIN, change

from vlltr_plugin.cli import main
from vlltr_plugin.hosts.lift.log import read_run
from vlltr_plugin.install import install, uninstall

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

pytestmark = pytest.mark.usefixtures("forked")

ARGS = "reweight.type class_volume loss_type CE"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the plug-in, and a run in its folder `output`; not to be written to."""
    root = tmp_path_factory.mktemp("lift") / "standin"
    shutil.copytree(STANDIN, root, ignore=shutil.ignore_patterns("__pycache__"))
    install(root, host="lift")
    done = subprocess.run([sys.executable, "main.py", *ARGS.split()], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def trained(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkout", ignore=shutil.ignore_patterns("__pycache__")))


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def evaluate(root: Path, *options: str, args: str = ARGS) -> dict[str, Any]:
    before = files(root)
    assert main(["evaluate", str(root / "output"), "--checkout", str(root), "--host-args", args, *options]) == 0
    own = root / "output" / "evaluation"
    kept = {path: data for path, data in files(root).items() if path.parent != own}
    assert kept == {path: data for path, data in before.items() if path.parent != own}
    return json.loads((root / "output" / "evaluation" / "evaluation.json").read_text())


def by_hand(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of the test images in float64, by the parameters in the checkpoint."""
    script = "import torch, trainer as t; p = t.Points([24, 20, 16, 20, 20], 2, 0); torch.save((p.data, p.labels), 'x')"
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
    data, labels = torch.load(root / "x", weights_only=True)
    (root / "x").unlink()
    state = torch.load(root / "output" / "checkpoint.pth.tar", weights_only=True)["tuner"]
    weight, bias = (state[name].double().numpy() for name in ("1.weight", "1.bias"))
    return data.double().numpy() @ weight.T + bias, np.array(labels)


def test_the_numbers_are_those_that_the_host_printed_and_a_loop_finds(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(trained)
    logits, labels = by_hand(trained)
    right = logits.argmax(1) == labels
    each = np.array([100 * right[labels == c].mean() for c in range(5)])
    expected = {"overall": 100 * right.mean(), "macro": each.mean(), "many": each[0], "medium": each[1:3].mean(),
                "few": each[3:].mean()}  # fmt: skip
    assert {name: found["host_log"][name] for name in expected} == pytest.approx(expected)
    printed = read_run(trained / "output" / "log.txt").log.test
    assert {name: printed[name] for name in expected} == pytest.approx(expected, abs=0.05001)
    assert found["host_log"]["overall"] == found["rules"]["single"]["top1"]
    assert found["labels_sha256"] == hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    assert (found["host"], found["split"], found["images"], found["classes"]) == ("lift", "test", 100, 5)
    assert found["differs_from_training"] == {}
    assert f"many {expected['many']:.2f}" in capsys.readouterr().out


def test_the_curve_subtracts_tau_times_the_log_prior_from_the_logits(trained: Path) -> None:
    logits, labels = by_hand(trained)
    counts = np.array([120, 60, 30, 12, 5.0])
    for args, options, prior in (
        (ARGS + " sampler ClassAwareSampler", [], np.ones(5)),
        (ARGS + " sampler HardestFirst", [], counts),  # of unknown draws
    ):
        told = evaluate(trained, "--tau", "1", *options, args=args)["trade_off"]
        assert told["groups"] == "others"
        for row, tau in zip(told["rows"], (0, 1), strict=True):
            right = (logits - tau * np.log(prior)).argmax(1) == labels
            assert row["top1"] == pytest.approx(100 * right.mean())
            assert row["few"] == pytest.approx(100 * right[labels >= 3].mean())
    assert main(["evaluate", str(trained / "output"), "--checkout", str(trained), "--prior", "draws",
                 "--host-args", ARGS + " sampler HardestFirst"]) == 2  # fmt: skip


@pytest.mark.parametrize(
    "way", ["without the plug-in", "no evaluator", "an evaluator in the test", "parallel", "half precision"]
)
def test_other_checkouts_and_models_give_the_numbers_that_the_host_printed(way: str, trained: Path) -> None:
    printed = read_run(trained / "output" / "log.txt").log.test or {}
    trainer = trained / "trainer.py"
    text, args = trainer.read_text(), ARGS
    if way == "without the plug-in":
        uninstall(trained)
        args = "loss_type CE"
    elif way == "no evaluator":
        trainer.write_text(text.replace("self.evaluator", "self.meter").replace("Evaluator", "Meter"))
    elif way == "an evaluator in the test":
        text = text.replace("        self.evaluator = Ev", "        self.meter = Ev")
        text = text.replace("        self.evaluator.reset()\n", "        meter = Evaluator(*[None] * 4)\n")
        trainer.write_text(text.replace("self.evaluator.", "meter."))
    args += {"parallel": " parallel True", "half precision": " prec fp16"}.get(way, "")
    found = evaluate(trained, args=args)["host_log"]
    close = 3.0 if way == "half precision" else 0.0501
    assert {name: found[name] for name in printed} == pytest.approx(printed, abs=close)


def test_options_reach_the_hosts_process(trained: Path, tmp_path: Path) -> None:
    found = evaluate(trained, "--limit", "7", "--batch-size", "3", "--device", "cpu", args="lr 0.1 " + ARGS)
    assert (found["images"], found["split_images"], found["limit"], found["settings"]["batch_size"]) == (7, 100, 7, 3)
    labels = by_hand(trained)[1][[position * 100 // 7 for position in range(7)]]
    assert found["labels_sha256"] == hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    assert found["differs_from_training"] == {"lr": {"here": "0.1", "training": "0.5"}}


def test_compare_reads_the_evaluations(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = evaluate(trained)["host_log"]["few"]
    other = shutil.copytree(trained / "output" / "evaluation", trained / "other" / "evaluation")
    capsys.readouterr()
    assert main(["compare", str(trained / "output" / "evaluation"), str(other)]) == 0
    assert f"{few:.2f}" in capsys.readouterr().out


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return exit, ()


def spoil(root: Path, how: str) -> None:
    path = root / "output" / "checkpoint.pth.tar"
    if how == "no file":
        path.unlink()
    elif how == "hostile":
        torch.save({"tuner": Hostile()}, path)
    elif how == "broken":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "a pickle":
        path.write_bytes(pickle.dumps(Hostile()))
    elif how == "no parts":
        torch.save({"epoch": 3}, path)
    elif how == "another shape":
        torch.save({"tuner": {"1.weight": torch.zeros(4, 8), "1.bias": torch.zeros(4)}}, path)
    elif how == "an unknown part":
        torch.save({"bottom": {"1.weight": torch.zeros(5, 8)}}, path)
    elif how == "a part left out":
        change(root, "        self.tuner =", "        self.head = nn.Identity()\n        self.tuner =")
        torch.save({"head": {}}, path)
    elif how == "a train of its own":
        own = "class Own(Trainer):\n    def train(self):\n        self.optim.step()\n\n\n"
        change(root, "= Trainer(", "= Own(", "main.py")
        change(root, "def main(", own + "def main(", "main.py")


REFUSED: dict[str, tuple[str, str, list[str]]] = {
    "no file": ("", "no file", []),
    "hostile": ("", "could run code", []),
    "a pickle": ("", "could run code", []),
    "broken": ("", "incomplete or damaged", []),
    "no parts": ("", "`tuner` and `head`", []),
    "another shape": ("", "does not fit the model", []),
    "an unknown part": ("", "`bottom`", []),
    "a train of its own": (ARGS, "without calling the plug-in's `attach`", []),
    "a part left out": ("", "all parameters that are trained", []),
    "wrong arguments": ("lr", "odd length", []),
    "a validation split": ("", "no validation split", ["--split", "val"]),
    "tau on a validation split": ("", "no validation split", ["--choose-tau", "val"]),
    "a config": ("", "--host-args", ["--config", "x.yaml"]),
    "another device": ("", "--device cpu", ["--device", "xpu"]),
}


@pytest.mark.parametrize("how", REFUSED)
def test_unusable_input_gives_a_one_line_error_and_writes_nothing(
    how: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(trained, how)
    before = files(trained)
    args, reason, options = REFUSED[how]
    command = ["evaluate", str(trained / "output"), "--checkout", str(trained), "--host-args", args, *options]
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("vlltr-plugin: error: ")
    assert reason in error
    assert files(trained) == before
