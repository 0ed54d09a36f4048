"""Stage two of a real checkout, stock and fast, through the host's own main.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vlltr_plugin.install import install

from .runner import LOSSES, HostRun, run_host, write_config

R50 = "configs/imagelt/finetune/finetune_r50.py"
INAT = "configs/inat/finetune/inat_finetune_r50.py"
BOTH = {"fast_head": True, "fast_tower": True}
REWEIGHT = {"type": "class_volume"}


@pytest.fixture(scope="module")
def installed(copy_checkout: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = copy_checkout(tmp_path_factory.mktemp("fast") / "VL-LTR")
    install(checkout)
    return checkout


@pytest.fixture(scope="module")
def run(installed: Path) -> Callable[..., HostRun]:
    """Runs two epochs of a config with more keys; each name once."""
    done: dict[str, HostRun] = {}

    def run_once(name: str, base: str = R50, processes: int = 1, **keys: Any) -> HostRun:
        if name not in done:
            done[name] = run_host(installed, write_config(installed, name, base, **keys), processes=processes)
        return done[name]

    return run_once


def assert_losses_agree(fast: HostRun, stock: HostRun) -> None:
    assert len(fast.epochs) == len(stock.epochs) == 2
    for ours, theirs in zip(fast.epochs, stock.epochs, strict=True):
        assert [ours[key] for key in LOSSES] == pytest.approx([theirs[key] for key in LOSSES], abs=1e-4)


def test_two_epochs_with_a_frozen_tower_and_class_volume_agree(run: Callable[..., HostRun]) -> None:
    stock, fast = run("stock", reweight=REWEIGHT), run("fast", reweight=REWEIGHT, **BOTH)
    assert_losses_agree(fast, stock)
    assert "fast_head:" in fast.stdout
    assert "fast_tower:" in fast.stdout
    assert fast.epochs[0]["n_parameters"] == stock.epochs[0]["n_parameters"]


def test_two_epochs_with_a_trained_tower_agree(run: Callable[..., HostRun]) -> None:
    assert_losses_agree(run("inat_fast", INAT, fast_head=True), run("inat_stock", INAT))


def test_two_epochs_on_two_ranks_agree(run: Callable[..., HostRun]) -> None:
    fast = run("fast2", processes=2, batch_size=8, **BOTH)
    assert_losses_agree(fast, run("stock2", processes=2, batch_size=8))


def test_a_fast_run_resumes_a_stock_one_and_the_other_way(run: Callable[..., HostRun], installed: Path) -> None:
    stock, fast = run("stock", reweight=REWEIGHT), run("fast", reweight=REWEIGHT, **BOTH)
    for other, name, keys in ((stock, "fast_from_stock", BOTH), (fast, "stock_from_fast", {})):
        resume = str(other.folder / "checkpoint.pth")
        resumed = run_host(
            installed, write_config(installed, name, R50, epochs=3, resume=resume, reweight=REWEIGHT, **keys)
        )
        assert [line["epoch"] for line in resumed.epochs] == [2]
        assert resumed.epochs[0]["test_loss"] == pytest.approx(stock.epochs[1]["test_loss"], abs=0.5)
    ours, theirs = (torch.load(one.folder / "checkpoint.pth", weights_only=False)["model"] for one in (fast, stock))
    assert list(ours) == list(theirs)
