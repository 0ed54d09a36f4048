"""The losses that the demo's stand-in trains with, through its own main.py, against the definition."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from host_steps import assert_two_epochs_of_losses

from vlltr_plugin.demo import BASELINE
from vlltr_plugin.demo.standin_checkout import main_environment, read_log

LAUNCH = Path(__file__).parents[2] / "real_host" / "launch.py"
HARD = {"mixup": 0.0, "cutmix": 0.0}


@pytest.mark.parametrize(
    ("branch", "options", "more"),
    [("each", {}, {}), ("sum", {}, HARD), ("image_text", {"source": "clean_pass"}, {}), ("visual", {}, {})],
    ids=["each", "sum-hard", "clean", "visual"],
)
def test_the_second_epochs_losses_are_those_of_the_definition(
    checkout: Path, tmp_path: Path, branch: str, options: dict[str, str], more: dict[str, float]
) -> None:
    reweight = {"type": "class_volume", "branch": branch, **options}
    config = checkout / Path(BASELINE).with_name(f"values_{tmp_path.name}.py")
    config.write_text(f"_base_ = ['./{Path(BASELINE).name}']\ncfg = dict(**{ ({'reweight': reweight, **more})!r})\n")
    command = [sys.executable, str(LAUNCH), str(tmp_path / "calls.pt"), "--config", str(config.relative_to(checkout))]
    done = subprocess.run(
        [*command, "--device=cpu", "--epochs=2"], cwd=checkout, env=main_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    counts = np.bincount(np.load(checkout / "data/digits/train.npz")["labels"])
    folder = checkout / "checkpoints" / config.stem
    clean = None
    if options:  # what a clean pass gives is tested on the miniature host
        clean = np.load(folder / "reweight" / "epoch_0001.npz")["weights_image_text"].tolist()
    logged = [line["train_loss"] for line in read_log(folder / "log.txt")[:2]]
    assert_two_epochs_of_losses(
        tmp_path / "calls.pt", logged, counts.tolist(), branch=branch, mixed=more != HARD, weights=clean
    )
