"""The losses that the real host trains with, through its own main.py, against the definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from host_steps import assert_two_branch_losses, expected_weights, parts_of, read_calls

from vlltr_plugin.install import install

from .layout import IMAGENET_LT, TRAIN_COUNTS
from .runner import run_host, write_config

R50 = "configs/imagelt/finetune/finetune_r50.py"
RECORD = Path(__file__).parents[1] / "record_launch.py"
HARD = {"mixup": 0.0, "cutmix": 0.0, "loss_type": "smoothCE"}
BRANCHES = ("visual", "image_text")


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
    first, second = read_calls(tmp_path / "calls.pt", epochs=2)
    assert first[0].targets.is_floating_point() == (more != HARD)

    if "source" in options:  # what a clean pass gives is tested on the miniature host
        arrays = np.load(run.folder / "reweight" / "epoch_0001.npz")
        weights = dict.fromkeys(BRANCHES, arrays["weights_sum"].tolist())
    else:
        counts = np.zeros(IMAGENET_LT.classes, dtype=int)
        counts[IMAGENET_LT.labels] = TRAIN_COUNTS
        parts = [sample for call in first[::2] for sample in parts_of(call.targets, 0.1)]
        logits = {name: torch.cat([call.logits for call in first[i::2]]) for i, name in enumerate(BRANCHES)}
        weights = {
            name: expected_weights(
                logits[name if options else "image_text"], parts, counts.tolist(), np.sqrt(counts).tolist()
            )
            for name in BRANCHES
        }
    assert all(max(alpha) > 1.5 * min(alpha) for alpha in weights.values())
    ones = [1.0] * IMAGENET_LT.classes
    logged = [line["train_loss"] for line in run.epochs]
    assert logged[0] == pytest.approx(assert_two_branch_losses(first, ones, ones, 0.1), rel=1e-5)
    assert logged[1] == pytest.approx(assert_two_branch_losses(second, *weights.values(), 0.1), rel=1e-5)
