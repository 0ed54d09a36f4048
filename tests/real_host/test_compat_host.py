"""The unmodified host trains, resumes and evaluates on this machine with the compat import alone."""

import math
from pathlib import Path

import pytest

from .runner import HostRun, read_log, run_host, write_config

R50 = "configs/imagelt/finetune/finetune_r50.py"


def losses(run: HostRun) -> list[tuple[float, float]]:
    return [(line["train_loss0"], line["train_loss1"]) for line in run.epochs]


OTHER_WAYS = {
    "the pre-training stage": ("configs/imagelt/pretrain/pretrain_r50.py", ()),
    "mixup of elements": (R50, ("--mixup-mode", "elem")),
    "mixup of pairs": (R50, ("--mixup-mode", "pair")),
    "places_lt_vit16": ("configs/placeslt/finetune/places_finetune_vit16.py", ()),
    "inat18_r50": ("configs/inat/finetune/inat_finetune_r50.py", ()),
}


@pytest.mark.parametrize(("base", "more"), OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_an_epoch_trains(compat_checkout: Path, base: str, more: tuple[str, ...]) -> None:
    run = run_host(compat_checkout, write_config(compat_checkout, "small", base, epochs=1), *more)
    assert math.isfinite(run.epochs[0]["train_loss"])
    assert (run.folder / "checkpoint.pth").is_file()


def test_runs_log_the_same_resume_from_their_checkpoint_and_are_evaluated(compat_checkout: Path) -> None:
    before = run_host(compat_checkout, write_config(compat_checkout, "small", R50), "--eval")
    assert len(before.log) == 1
    assert not (before.folder / "checkpoint.pth").exists()
    first, again = (
        run_host(compat_checkout, write_config(compat_checkout, name, R50, epochs=1)) for name in ("small", "again")
    )
    assert again.epochs == first.epochs
    resumed = run_host(compat_checkout, write_config(compat_checkout, "small", R50, epochs=2))
    assert [line["epoch"] for line in resumed.epochs] == [0, 1]
    assert losses(resumed)[1] != losses(first)[0]
    evaluated = run_host(compat_checkout, "configs/real_host/small.py", "--eval")
    assert evaluated.log[-1] == resumed.log[-1]
    assert "# epoch=1, task=small" in (evaluated.folder / "log.txt").read_text()


@pytest.mark.parametrize("module", ["torch.distributed.run", "torch.distributed.launch"])
def test_two_gloo_processes_train(compat_checkout: Path, module: str) -> None:
    config = write_config(compat_checkout, "small", R50, epochs=1)
    run = run_host(compat_checkout, config, processes=2, module=module)
    assert all(math.isfinite(loss) for pair in losses(run) for loss in pair)
    assert len(read_log(run.folder / "log.txt")) == 2  # from rank 0 alone: the epoch's and the test split's
    assert run.stdout.count("| distributed init") == 2
