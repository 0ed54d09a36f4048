"""The end of an epoch: radii that stay, and ranks that are compared once."""

import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mini_host import MiniHost
from process_groups import leave_group
from recorded_run import COUNTS, observe

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.core import criterion as core_criterion
from vlltr_plugin.core import weighting as core_weighting
from vlltr_plugin.training import session
from vlltr_plugin.training.session import Session


def test_an_epoch_that_keeps_the_radii_drops_what_it_observed_and_the_next_is_measured() -> None:
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    radii = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(3):
            observe(criterion, epoch)
            if epoch == 1:
                criterion.keep_radii()
            criterion.end_epoch()
            radii.append(criterion.weighting.log_radius64.clone())
            assert criterion.drawn.tolist() == COUNTS
    assert torch.equal(radii[0], radii[1])
    assert not torch.equal(radii[1], radii[2])
    assert criterion.weighting.epoch == 3


def test_ranks_are_compared_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    for module in (session, core_criterion, core_weighting):
        monkeypatch.setattr(module, "refuse_differing_ranks", lambda card, device: compared.append(card))
    host = MiniHost({"type": "class_volume", "branch": "each"})
    host.attach()
    host.epoch(0)
    assert len(compared) == 1
    assert {"branch", "image_text: smoothing", "visual: smoothing", "visual: class_counts"} <= compared[0].keys()


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    criteria = {name: ReweightedLoss(ClassVolume(COUNTS), smoothing=0.1 * rank * (name == "b")) for name in "ab"}
    try:
        Session(criteria, None, without="").end_epoch(0)
    except ValueError as error:
        Path(f"{folder}/{rank}.txt").write_text(str(error))
    leave_group()


def test_what_differs_between_ranks_is_named_with_its_criterion(tmp_path: Path) -> None:
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert "b: smoothing (rank 0 has 0.0, rank 1 has 0.1)" in (tmp_path / f"{rank}.txt").read_text()
