"""A real checkout of timm, which VLLTR_TIMM names, with images of CIFAR-10 from VLLTR_DATA (without it: noise)."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hosts.real_images import images
from PIL import Image

from vlltr_plugin.cli import main
from vlltr_plugin.hosts.timm_train.host import read_log
from vlltr_plugin.install import install, uninstall

FOLDER = Path(os.environ.get("VLLTR_TIMM", "no folder"))
LAUNCH = Path(__file__).with_name("real_launch.py")
COMMON = ["--model", "resnet10t", "--num-classes", "10", "--img-size", "32", "--device", "cpu", "-j", "1", "-b", "32"]
COMMON += ["--lr", "0.05", "--warmup-epochs", "0", "--epochs", "2"]
DV = ["--reweight", "class_volume", "--reweight-opt", "min_samples=10"]
pytestmark = pytest.mark.skipif(not (FOLDER / "train.py").is_file(), reason="VLLTR_TIMM names no checkout of timm")


COUNTS = {"train": [max(2, 120 // 2**label) for label in range(10)], "test": [10] * 10}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for folder, split in (("train", "train"), ("validation", "test")):
        for label, pixels in enumerate(images("cifar10_lt_mini", split, COUNTS[split])):
            place = root / folder / f"class{label}"
            place.mkdir(parents=True)
            for number, image in enumerate(pixels):
                Image.fromarray(image).save(place / f"{number:05d}.png")
    return root


def test_a_real_run(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(FOLDER, tmp_path / "timm", ignore=shutil.ignore_patterns(".git", "output", "__pycache__"))

    def train(name: str, *options: str, ranks: int = 1) -> Path:
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
        where = ["--data-dir", str(data), "--output", str(tmp_path), "--experiment", name]
        command = [sys.executable, "-W", "ignore", *start, str(LAUNCH), "train.py", *COMMON, *where, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=root, text=True, start_new_session=True, **pipes)
        try:
            stdout, stderr = process.communicate(timeout=400)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # ranks too, which a launcher that is killed leaves behind
        assert process.returncode == 0, stderr[-3000:]
        losses = re.findall(r"Train: .*?Loss: (\S+ \(\S+\))", stderr)
        print(name, *losses, *re.findall(r"(?m)^\[vlltr-plugin\].*$", stdout), sep="\n  ")
        return tmp_path / name

    def rows(folder: Path) -> list[dict[str, float]]:
        epochs = read_log(folder / "summary.csv").epochs.values()
        return [{key: value for key, value in line.items() if "reweight" not in key} for line in epochs]

    plain = rows(train("plain"))
    text = (root / "train.py").read_bytes()
    install(root)
    assert rows(train("off")) == plain
    weighted = train("weighted", *DV)
    assert rows(weighted)[0] == plain[0]
    assert rows(weighted)[1]["train_loss"] != plain[1]["train_loss"]

    resumed = train("resumed", *DV, "--resume", str(weighted / "checkpoint-0.pth.tar"))
    one, other = (np.load(folder / "reweight/epoch_0001.npz")["weights_single"] for folder in (weighted, resumed))
    assert np.array_equal(one, other)

    two = train("two", "--mixup", "0.8", *DV, ranks=2)
    assert rows(two)[0] == rows(train("two off", "--mixup", "0.8", ranks=2))[0]
    drawn, batches = np.load(two / "reweight/epoch_0000.npz")["drawn"], len(list(data.glob("train/*/*"))) // 64
    assert drawn.sum() == pytest.approx(2 * 32 * batches)  # those of both ranks

    checkpoint, installed = weighted / "checkpoint-1.pth.tar", (root / "train.py").read_text()
    preparation = LAUNCH.read_text().split("sys.argv =")[0]
    (root / "train.py").write_text(f"exec({preparation!r})\n{installed}")
    arguments = " ".join([*COMMON, "--data-dir", str(data), *DV])
    assert main(["check", "--checkout", str(root), "--device", "cpu", "--host-args", arguments]) == 0
    out = tmp_path / "evaluation"
    assert main(["evaluate", str(checkpoint), "--checkout", str(root), "--device", "cpu", "--out", str(out)]) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert found["host_log"]["acc1"] == pytest.approx(rows(weighted)[1]["eval_top1"])
    assert found["differs_from_training"] == {}
    (root / "train.py").write_text(installed)
    uninstall(root)
    assert (root / "train.py").read_bytes() == text
