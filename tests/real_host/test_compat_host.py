"""The unmodified host trains, resumes and evaluates on this machine with the compat import alone."""

import math
import subprocess
from pathlib import Path

import pytest
import torch

from vlltr_plugin.compat.runtime import trust_argparse_namespace

from .runner import HostRun, read_log, run_host, write_config

R50 = "configs/imagelt/finetune/finetune_r50.py"
BASELINES = {
    "imagenet_lt_r50": R50,
    "places_lt_vit16": "configs/placeslt/finetune/places_finetune_vit16.py",
    "inat18_r50": "configs/inat/finetune/inat_finetune_r50.py",
}


def losses(run: HostRun) -> list[tuple[float, float]]:
    return [(line["train_loss0"], line["train_loss1"]) for line in run.epochs]


def test_a_prepared_copy_looks_untouched_to_git(checkout: Path) -> None:
    write_config(checkout, "small", R50)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_trains_two_epochs(compat_checkout: Path, name: str) -> None:
    epochs = 1 if name.startswith("inat") else 2
    run = run_host(compat_checkout, write_config(compat_checkout, name, BASELINES[name], epochs=epochs))
    assert [line["epoch"] for line in run.epochs] == list(range(epochs))
    assert all(math.isfinite(loss) for pair in losses(run) for loss in pair)
    assert (run.folder / "checkpoint.pth").is_file()


def test_two_runs_with_the_same_seeds_log_the_same_and_their_checkpoints_load_safely(compat_checkout: Path) -> None:
    runs = [run_host(compat_checkout, write_config(compat_checkout, name, R50, epochs=1)) for name in ("a", "b")]
    assert runs[0].log == runs[1].log
    trust_argparse_namespace()
    assert torch.load(runs[0].folder / "checkpoint.pth", weights_only=True)["args"].mixup == 0.8


@pytest.mark.parametrize(
    ("base", "more"),
    [
        ("configs/imagelt/pretrain/pretrain_r50.py", ()),
        (R50, ("--mixup-mode", "elem")),
        (R50, ("--mixup-mode", "pair")),
    ],
)
def test_the_pretraining_stage_and_other_modes_of_mixup_train(
    compat_checkout: Path, base: str, more: tuple[str, ...]
) -> None:
    run = run_host(compat_checkout, write_config(compat_checkout, "small", base, epochs=1), *more)
    assert math.isfinite(run.epochs[0]["train_loss"])


def test_resume_continues_and_evaluation_reads_the_checkpoint(compat_checkout: Path) -> None:
    first = run_host(compat_checkout, write_config(compat_checkout, "small", R50, epochs=1))
    resumed = run_host(compat_checkout, write_config(compat_checkout, "small", R50, epochs=2))
    assert [line["epoch"] for line in resumed.epochs] == [0, 1]
    assert losses(resumed)[1] != losses(first)[0]
    evaluated = run_host(compat_checkout, "configs/real_host/small.py", "--eval")
    assert evaluated.log[-1] == resumed.log[-1]
    text = (evaluated.folder / "log.txt").read_text()
    assert "# epoch=1, task=small" in text


def test_evaluation_before_any_training_writes_no_checkpoint(compat_checkout: Path) -> None:
    run = run_host(compat_checkout, write_config(compat_checkout, "small", R50), "--eval")
    assert len(run.log) == 1
    assert not (run.folder / "checkpoint.pth").exists()


@pytest.mark.parametrize("module", ["torch.distributed.run", "torch.distributed.launch"])
def test_two_gloo_processes_train(compat_checkout: Path, module: str) -> None:
    config = write_config(compat_checkout, "small", R50, epochs=1)
    run = run_host(compat_checkout, config, processes=2, module=module)
    assert all(math.isfinite(loss) for pair in losses(run) for loss in pair)
    assert len(read_log(run.folder / "log.txt")) == 2  # from rank 0 alone: the epoch's and the test split's
    assert run.stdout.count("| distributed init") == 2
