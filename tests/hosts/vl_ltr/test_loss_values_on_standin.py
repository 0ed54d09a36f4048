"""The losses that the demo's stand-in trains with, through its own main.py, against the definition."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from host_steps import assert_two_branch_losses, expected_weights, parts_of, read_calls

from vlltr_plugin.demo import BASELINE, make_standin
from vlltr_plugin.demo.standin_checkout import main_environment, read_log
from vlltr_plugin.install import install

RECORD = Path(__file__).parents[2] / "record_launch.py"
HARD = {"mixup": 0.0, "cutmix": 0.0}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    folder = make_standin(tmp_path_factory.mktemp("loss_values") / "standin")
    install(folder)
    return folder


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
    command = [sys.executable, str(RECORD), str(tmp_path / "calls.pt"), "--config", str(config.relative_to(checkout))]
    done = subprocess.run(
        [*command, "--device=cpu", "--epochs=2"], cwd=checkout, env=main_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = read_calls(tmp_path / "calls.pt", epochs=2)
    assert first[0].targets.is_floating_point() == (more != HARD)

    counts = np.bincount(np.load(checkout / "data/digits/train.npz")["labels"])
    if options:  # what a clean pass gives is tested on the miniature host
        arrays = np.load(checkout / "checkpoints" / config.stem / "reweight" / "epoch_0001.npz")
        weights = dict.fromkeys(("visual", "image_text"), arrays["weights_image_text"].tolist())
    else:
        logits = {
            name: torch.cat([call.logits for call in first[i::2]]) for i, name in enumerate(("visual", "image_text"))
        }
        logits["sum"] = logits["visual"].double() + logits["image_text"].double()
        parts = [sample for call in first[::2] for sample in parts_of(call.targets, 0.1)]
        weights = {
            name: expected_weights(
                logits[name if branch == "each" else branch], parts, counts.tolist(), np.sqrt(counts).tolist()
            )
            for name in ("visual", "image_text")
        }
    assert all(max(alpha) > 1.5 * min(alpha) for alpha in weights.values())
    ones = [1.0] * len(counts)
    logged = [line["train_loss"] for line in read_log(checkout / "checkpoints" / config.stem / "log.txt")[:2]]
    assert logged[0] == pytest.approx(assert_two_branch_losses(first, ones, ones, 0.1), rel=1e-5)
    assert logged[1] == pytest.approx(
        assert_two_branch_losses(second, weights["visual"], weights["image_text"], 0.1), rel=1e-5
    )
