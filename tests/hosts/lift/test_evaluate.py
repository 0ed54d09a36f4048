"""`vlltr-plugin evaluate` on LIFT's stand-in: its own test, in its own process, with the checkpoint in its model."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import Hostile
from hosts.lift.conftest import change
from hosts.standins import copy_of, installed

from vlltr_plugin.cli import main
from vlltr_plugin.hosts.lift.log import read_run
from vlltr_plugin.install import uninstall

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

pytestmark = pytest.mark.usefixtures("forked")

ARGS = "reweight.type class_volume loss_type CE"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the plug-in, and a run in its folder `output`; not to be written to."""
    root = installed("lift", tmp_path_factory.mktemp("lift") / "standin")
    done = subprocess.run([sys.executable, "main.py", *ARGS.split()], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def trained(made: Path, tmp_path: Path) -> Path:
    return copy_of(made, tmp_path / "checkout")


def files(root: Path) -> dict[Path, bytes]:
    """All but the results of an evaluation."""
    paths = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path: path.read_bytes() for path in paths if path.parent.name != "evaluation"}


def command(root: Path, args: str, *options: str) -> int:
    return main(["evaluate", str(root / "output"), "--checkout", str(root), "--host-args", args, *options])


def evaluate(root: Path, *options: str, args: str = ARGS) -> dict[str, Any]:
    before = files(root)
    assert command(root, args, *options) == 0
    assert files(root) == before
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


def printed_by(root: Path) -> dict[str, float]:
    """The host's own result."""
    return read_run(root / "output" / "log.txt").log.test or {}


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
    assert {name: printed_by(trained)[name] for name in expected} == pytest.approx(expected, abs=0.05001)
    assert found["host_log"]["overall"] == found["rules"]["single"]["top1"]
    assert found["labels_sha256"] == hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    assert (found["host"], found["split"], found["images"], found["classes"]) == ("lift", "test", 100, 5)
    assert found["differs_from_training"] == {}
    assert f"many {expected['many']:.2f}" in capsys.readouterr().out
    own = trained / "output" / "evaluation"
    other = shutil.copytree(own, trained / "other" / "evaluation")
    assert main(["compare", str(own), str(other)]) == 0
    assert f"{expected['few']:.2f}" in capsys.readouterr().out


def test_the_curve_subtracts_tau_times_the_log_prior_from_the_logits(trained: Path) -> None:
    logits, labels = by_hand(trained)
    counts = np.array([120, 60, 30, 12, 5.0])
    for sampler, prior in (("ClassAwareSampler", np.ones(5)), ("HardestFirst", counts)):  # the latter's are unknown
        found = evaluate(trained, "--tau", "1", args=f"{ARGS} sampler {sampler}")["trade_off"]
        assert found["groups"] == "others"
        for row, tau in zip(found["rows"], (0, 1), strict=True):
            right = (logits - tau * np.log(prior)).argmax(1) == labels
            assert row["top1"] == pytest.approx(100 * right.mean())
            assert row["few"] == pytest.approx(100 * right[labels >= 3].mean())
    assert command(trained, f"{ARGS} sampler HardestFirst", "--prior", "draws") == 2


WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "without the plug-in": ("loss_type CE", {}),
    "no evaluator": (ARGS, {"self.evaluator": "self.meter", "Evaluator": "Meter"}),
    "an evaluator in the test": (ARGS, {
        "        self.evaluator = Ev": "        self.meter = Ev",
        "        self.evaluator.reset()\n": "        meter = Evaluator(*[None] * 4)\n", "self.evaluator.": "meter."}),
    "parallel": (f"{ARGS} parallel True", {}),
    "half precision": (f"{ARGS} prec fp16", {}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_other_checkouts_and_models_give_the_numbers_that_the_host_printed(way: str, trained: Path) -> None:
    args, changes = WAYS[way]
    for old, new in changes.items():
        change(trained, old, new)
    if way == "without the plug-in":
        uninstall(trained)
    found, printed = evaluate(trained, args=args)["host_log"], printed_by(trained)
    close = 3.0 if way == "half precision" else 0.0501
    assert {name: found[name] for name in printed} == pytest.approx(printed, abs=close)


def test_options_reach_the_hosts_process(trained: Path) -> None:
    found = evaluate(trained, "--limit", "7", "--batch-size", "3", "--device", "cpu", args="lr 0.1 " + ARGS)
    assert (found["images"], found["split_images"], found["limit"], found["settings"]["batch_size"]) == (7, 100, 7, 3)
    labels = by_hand(trained)[1][[position * 100 // 7 for position in range(7)]]
    assert found["labels_sha256"] == hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    assert found["differs_from_training"] == {"lr": {"here": "0.1", "training": "0.5"}}


CHECKPOINT = "output/checkpoint.pth.tar"


def saved(content: Any) -> Callable[[Path], object]:
    return lambda root: torch.save(content, root / CHECKPOINT)


def a_hostile_pickle(root: Path) -> None:
    (root / CHECKPOINT).write_bytes(pickle.dumps(Hostile(root / "executed")))


def a_part_left_out(root: Path) -> None:
    change(root, "        self.tuner =", "        self.head = nn.Identity()\n        self.tuner =")
    saved({"head": {}})(root)


def a_train_of_its_own(root: Path) -> None:
    own = "class Own(Trainer):\n    def train(self):\n        self.optim.step()\n\n\n"
    change(root, "= Trainer(", "= Own(", "main.py")
    change(root, "def main(", own + "def main(", "main.py")


OTHER_SHAPE = {"1.weight": torch.zeros(4, 8), "1.bias": torch.zeros(4)}
REFUSED: dict[str, tuple[Callable[[Path], object] | None, str, str, list[str]]] = {
    "no file": (lambda root: (root / CHECKPOINT).unlink(), "", "no file", []),
    "hostile": (lambda root: saved({"tuner": Hostile(root / "executed")})(root), "", "could run code", []),
    "a pickle": (a_hostile_pickle, "", "could run code", []),
    "broken": (lambda root: os.truncate(root / CHECKPOINT, 200), "", "incomplete or damaged", []),
    "no parts": (saved({"epoch": 3}), "", "`tuner` and `head`", []),
    "another shape": (saved({"tuner": OTHER_SHAPE}), "", "does not fit the model", []),
    "an unknown part": (saved({"bottom": {"1.weight": torch.zeros(5, 8)}}), "", "`bottom`", []),
    "a train of its own": (a_train_of_its_own, ARGS, "without calling the plug-in's `attach`", []),
    "a part left out": (a_part_left_out, "", "all parameters that are trained", []),
    "wrong arguments": (None, "lr", "odd length", []),
    "a validation split": (None, "", "no validation split", ["--split", "val"]),
    "tau on a validation split": (None, "", "no validation split", ["--choose-tau", "val"]),
    "a config": (None, "", "--host-args", ["--config", "x.yaml"]),
    "another device": (None, "", "--device cpu", ["--device", "xpu"]),
}


@pytest.mark.parametrize("how", REFUSED)
def test_unusable_input_gives_a_one_line_error_and_writes_nothing(
    how: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, args, reason, options = REFUSED[how]
    if spoil is not None:
        spoil(trained)
    before = files(trained)
    assert command(trained, args, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("vlltr-plugin: error: ")
    assert reason in error
    assert files(trained) == before
    assert not (trained / "output" / "evaluation").exists()
    assert not (trained / "executed").exists()
