"""The losses that the real host trains with, through its own main.py, against the definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_steps import assert_two_epochs_of_losses

from vlltr_plugin.install import install

from .layout import IMAGENET_LT, TRAIN_COUNTS
from .runner import run_host, write_config

R50 = "configs/imagelt/finetune/finetune_r50.py"
RECORD = Path(__file__).parents[1] / "record_launch.py"
HARD = {"mixup": 0.0, "cutmix": 0.0, "loss_type": "smoothCE"}


@pytest.mark.parametrize(
    ("options", "more"),
    [({}, {}), ({"branch": "each"}, HARD), ({"branch": "sum", "source": "clean_pass"}, {})],
    ids=["default", "each-hard", "clean"],
)
def test_the_second_epochs_losses_are_those_of_the_definition(
    checkout: Path, tmp_path: Path, options: dict[str, str], more: dict[str, Any]
) -> None:
    install(checkout)
    reweight = {"type": "class_volume", **options}
    config = write_config(checkout, "values", R50, reweight=reweight, **more)
    run = run_host(checkout, config, launch=(str(RECORD), str(tmp_path / "calls.pt")))
    counts = np.zeros(IMAGENET_LT.classes, dtype=int)
    counts[IMAGENET_LT.labels] = TRAIN_COUNTS
    clean = None
    if "source" in options:  # what a clean pass gives is tested on the miniature host
        clean = np.load(run.folder / "reweight" / "epoch_0001.npz")["weights_sum"].tolist()
    logged = [line["train_loss"] for line in run.epochs]
    branch = options.get("branch", "image_text")
    assert_two_epochs_of_losses(
        tmp_path / "calls.pt", logged, counts.tolist(), branch=branch, mixed=more != HARD, weights=clean
    )
