"""Real checkouts: LIFT, PEL and LIFT-plus below the folder that VLLTR_LIFT names, with a tiny random CLIP."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vlltr_plugin.cli import main
from vlltr_plugin.hosts.lift.log import read_run
from vlltr_plugin.install import install, uninstall

FOLDER = Path(os.environ.get("VLLTR_LIFT", "no folder"))
HOSTS = [name for name in ("LIFT", "PEL", "LIFT-plus") if (FOLDER / name / "trainer.py").is_file()]
MODEL = {
    "LIFT": ["-m", "clip_vit_b16", "full_tuning", "True"],
    "PEL": ["-m", "clip_vit_b16_ft"],
    "LIFT-plus": ["-b", "clip_vit_b16", "-m", "fft", "prec_test", "fp32"],
}
pytestmark = pytest.mark.skipif(
    not HOSTS, reason="VLLTR_LIFT names no folder with a checkout of LIFT, PEL or LIFT-plus"
)


@pytest.fixture(scope="module", params=HOSTS)
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real") / request.param
    return shutil.copytree(FOLDER / request.param, root, ignore=shutil.ignore_patterns(".git", "output", "__pycache__"))


COMMON = ["resolution", "32", "num_workers", "0", "num_epochs", "2", "print_freq", "1"]
ARGS = {name: ["-d", "cifar100_ir100", *model, *COMMON] for name, model in MODEL.items()}
ENVIRONMENT = {"LIFT_IMAGES": "20", "LIFT_CLIP": str(FOLDER / "LIFT")}


def train(root: Path, *options: str) -> list[str]:
    """Trains two short epochs; returns what is printed, without times."""
    shutil.rmtree(root / "output", ignore_errors=True)
    launcher = Path(__file__).with_name("real_launch.py")
    command = [sys.executable, "-W", "ignore", launcher, root, *ARGS[root.name], "output_dir", "run", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    assert done.returncode == 0, done.stderr[-3000:]
    (log,) = (root / "output" / "run").glob("log*")
    lines = log.read_text().splitlines()
    return [re.sub(r"(time|data) \S+ \(\S+\) | eta \S+", "", line) for line in lines if not line.startswith("Time")]


def of_epoch(epoch: int, lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(f"epoch [{epoch}/")]


def after_config(lines: list[str]) -> list[str]:
    return lines[lines.index("************") :]


def check_evaluation(root: Path) -> None:
    """`evaluate` of the run in its folder gives the accuracies that the host printed, group by group."""
    script = root / "main.py"
    text = script.read_text()
    tests = str(Path(__file__).parent)
    script.write_text(f"import pathlib, sys\nsys.path.append({tests!r})\nimport real_launch\n"
                      f"real_launch.prepare(pathlib.Path({str(root)!r}))\n{text}")  # fmt: skip
    run = root / "output" / "run"
    options = [*ARGS[root.name], "loss_type", "LA", "reweight.type", "class_volume"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        assert main(["evaluate", str(run), "--checkout", str(root), "--host-args", " ".join(options)]) == 0
    script.write_text(text)
    found = json.loads((run / "evaluation" / "evaluation.json").read_text())
    (log,) = run.glob("log*")
    printed = {name: value for name, value in (read_run(log).log.test or {}).items() if name in found["host_log"]}
    print(root.name, found["host_log"], printed)
    assert printed.keys() >= {"overall", "medium", "few"}  # of one in 20 images no class is many-shot
    assert {name: found["host_log"][name] for name in printed} == pytest.approx(printed, abs=0.0501)
    assert found["differs_from_training"] == {}


def test_a_real_run(checkout: Path) -> None:
    plain = {loss: train(checkout, "loss_type", loss) for loss in ("CE", "LA")}
    before = {path: path.read_bytes() for path in checkout.rglob("*.py")}
    install(checkout)
    assert after_config(train(checkout, "loss_type", "CE")) == after_config(plain["CE"])
    for loss in ("CE", "LA"):
        lines = train(checkout, "loss_type", loss, "reweight.type", "class_volume")
        assert of_epoch(1, lines) == of_epoch(1, plain[loss]) != []
        assert of_epoch(2, lines) != of_epoch(2, plain[loss])
        assert len([line for line in lines if line.startswith("[vlltr-plugin] epoch")]) == 2
        assert len(list((checkout / "output" / "run" / "reweight").glob("*.npz"))) == 2
    lines = train(checkout, "reweight.type", "class_volume", "reweight.measure_first", "True")
    assert of_epoch(1, lines) != of_epoch(1, plain["LA"])
    train(checkout, "loss_type", "LA", "reweight.type", "class_volume")
    check_evaluation(checkout)
    uninstall(checkout)
    assert {path: path.read_bytes() for path in checkout.rglob("*.py")} == before
