"""The plug-in at work in a real checkout, through the host's own main.py."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from host_steps import assert_two_epochs_of_losses

from vlltr_plugin.install import install, uninstall
from vlltr_plugin.runs.checkpoint_args import load_safely

from .layout import IMAGENET_LT, TRAIN_COUNTS, insert_compat_import
from .runner import LAUNCH, LOSSES, HostRun, run_host, write_config

R50 = "configs/imagelt/finetune/finetune_r50.py"
DV = "configs/class_volume/imagenet_lt_r50_dv.py"
HARD = {"mixup": 0.0, "cutmix": 0.0, "loss_type": "smoothCE"}
DV_CONFIGS = [f"{data}_{tower}_dv" for data in ("imagenet_lt", "places_lt", "inat18") for tower in ("r50", "vit16")]
ADJUSTED = {"type": "class_volume", "form": "logit_adjustment"}


def losses(run: HostRun, epoch: int) -> list[float]:
    return [run.epochs[epoch][key] for key in LOSSES]


def arrays(run: HostRun, epoch: int) -> Any:
    return np.load(run.folder / "reweight" / f"epoch_{epoch:04d}.npz")


@pytest.fixture
def installed(checkout: Path) -> Path:
    install(checkout)
    return checkout


@pytest.fixture(scope="module")
def two_epochs(copy_checkout: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostRun]:
    """A checkout with the compat import alone, and an installed one: baselines of both, and class volume."""
    folder = tmp_path_factory.mktemp("two_epochs")
    bare, patched = (copy_checkout(folder / name) for name in ("bare", "patched"))
    insert_compat_import(bare)
    install(patched)
    return {
        "bare": run_host(bare, write_config(bare, "baseline", R50)),
        "installed": run_host(patched, write_config(patched, "baseline", R50)),
        "dv": run_host(patched, write_config(patched, "dv", DV)),
        "adjusted": run_host(patched, write_config(patched, "adjusted", DV, reweight=ADJUSTED)),
    }


def test_without_the_key_every_number_is_the_bare_hosts_and_with_it_the_first_epochs(
    two_epochs: dict[str, HostRun],
) -> None:
    bare, installed, dv = (two_epochs[name] for name in ("bare", "installed", "dv"))
    assert installed.log == bare.log
    assert not (installed.folder / "reweight").exists()
    assert losses(dv, 0) == losses(bare, 0)
    assert losses(dv, 1) != losses(bare, 1)


def test_logit_adjustment_trains_from_the_first_step_on(two_epochs: dict[str, HostRun]) -> None:
    adjusted, bare = two_epochs["adjusted"], two_epochs["bare"]
    assert "epoch 0 is not the baseline's" in adjusted.stdout
    assert all(adjusted.epochs[epoch][key] != bare.epochs[epoch][key] for epoch in range(2) for key in LOSSES[:3])
    assert adjusted.epochs[0].keys() == two_epochs["dv"].epochs[0].keys()
    for epoch, line in enumerate(adjusted.epochs):
        assert line["train_reweight_expected_alpha"] == pytest.approx(1, abs=1e-5)
        assert arrays(adjusted, epoch)["weights_image_text"].max() == pytest.approx(line["train_reweight_alpha_max"])
        assert line["train_reweight_alpha_max"] > 1


def test_class_volume_is_at_work_in_the_second_epoch(two_epochs: dict[str, HostRun]) -> None:
    run = two_epochs["dv"]
    first, second = run.epochs
    assert (first["train_reweight_alpha_min"], first["train_reweight_alpha_max"]) == (1, 1)
    assert second["train_reweight_alpha_min"] < 1 < second["train_reweight_alpha_max"]
    assert second["train_reweight_expected_alpha"] == pytest.approx(1, abs=1e-6)
    deviation = abs(second["train_reweight_drawn_alpha"] - 1)
    assert deviation < 4 * second["train_reweight_drawn_alpha_se"]
    assert second["train_reweight_skipped"] == 0
    weights = arrays(run, 1)["weights_image_text"]
    counts = arrays(run, 1)["counts"]
    assert (weights[counts == 0] == 1).all()
    assert len(set(weights[counts > 0].tolist())) == 10
    assert np.array_equal(weights, arrays(run, 0)["next_weights_image_text"])
    assert "990 of 1000 classes have no samples" in run.stdout


def test_the_checkpoint_loads_safely_and_in_a_plain_checkout(
    two_epochs: dict[str, HostRun], compat_checkout: Path
) -> None:
    saved = two_epochs["dv"].folder / "checkpoint.pth"
    state = load_safely(saved)
    assert state["args"].reweight == {"type": "class_volume"}
    assert sum(v.numel() for v in state["reweight"]["weightings"]["image_text"].values() if torch.is_tensor(v)) == 4000
    config = write_config(compat_checkout, "plain", R50, epochs=3)
    run = run_host(compat_checkout, config, "--resume", str(saved))
    assert [line["epoch"] for line in run.epochs] == [2]


def test_a_resumed_run_goes_on_an_evaluation_writes_no_arrays_and_uninstall_leaves_a_clean_checkout(
    two_epochs: dict[str, HostRun], installed: Path
) -> None:
    stopped = run_host(installed, write_config(installed, "stopped", DV, epochs=1))
    saved = torch.load(stopped.folder / "checkpoint.pth", weights_only=False)["reweight"]["weightings"]["image_text"]
    resumed = run_host(installed, write_config(installed, "stopped", DV, epochs=2))
    assert "resumed the weights in force from epoch 1 on" in resumed.stdout
    assert [line["epoch"] for line in resumed.epochs] == [0, 1]
    weights = arrays(resumed, 1)["weights_image_text"]
    assert np.array_equal(weights, saved["weights"].numpy())
    assert np.array_equal(weights, arrays(two_epochs["dv"], 1)["weights_image_text"])
    before = sorted(path.name for path in (resumed.folder / "reweight").iterdir())
    evaluated = run_host(installed, "configs/real_host/stopped.py", "--eval")
    assert sorted(path.name for path in (resumed.folder / "reweight").iterdir()) == before
    assert len(evaluated.log) == len(resumed.log) + 1
    uninstall(installed)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=installed, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_two_gloo_processes_hold_identical_weights(installed: Path) -> None:
    run = run_host(installed, write_config(installed, "dv", DV), processes=2)
    assert [line["epoch"] for line in run.epochs] == [0, 1]
    assert run.epochs[1]["train_reweight_alpha_max"] > 1
    assert run.epochs[1]["train_reweight_expected_alpha"] == pytest.approx(1, abs=1e-6)
    images = int(arrays(run, 0)["counts"].sum())
    drawn = 2 * (-(-images // 2) // 16) * 16  # batches of 16 a rank, the rest dropped
    assert arrays(run, 0)["drawn"].sum() == pytest.approx(drawn, rel=1e-5)


@pytest.mark.parametrize("name", DV_CONFIGS)
def test_every_dv_config_finishes_an_epoch(installed: Path, name: str) -> None:
    run = run_host(installed, write_config(installed, name, f"configs/class_volume/{name}.py", epochs=1))
    assert run.epochs[0]["train_reweight_log_radius_mean"] is not None
    assert arrays(run, 0)["next_weights_image_text"].max() > 1


@pytest.mark.parametrize(
    ("options", "more"),
    [({}, {}), ({"branch": "each"}, HARD), ({"branch": "sum", "source": "clean_pass"}, {})],
    ids=["default", "each-hard", "clean"],
)
def test_the_second_epochs_losses_are_those_of_the_definition(
    installed: Path, tmp_path: Path, options: dict[str, str], more: dict[str, Any]
) -> None:
    config = write_config(installed, "values", R50, reweight={"type": "class_volume", **options}, **more)
    run = run_host(installed, config, launch=(str(LAUNCH), str(tmp_path / "calls.pt")))
    counts = np.zeros(IMAGENET_LT.classes, dtype=int)
    counts[IMAGENET_LT.labels] = TRAIN_COUNTS
    # What a clean pass gives is tested on the miniature host.
    clean = arrays(run, 1)["weights_sum"].tolist() if "source" in options else None
    logged = [line["train_loss"] for line in run.epochs]
    branch = options.get("branch", "image_text")
    assert_two_epochs_of_losses(
        tmp_path / "calls.pt", logged, counts.tolist(), branch=branch, mixed=more != HARD, weights=clean
    )
