"""Merging over ranks, with real gloo processes."""

import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from process_groups import leave_group

from vlltr_plugin import ClassVolume

COUNTS = [60, 40, 20, 9, 3]


def epoch_batches():
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor(COUNTS))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    rows = 100 + torch.randn(len(labels), 5, generator=generator) * (1 + labels[:, None])
    return rows, labels


SETTINGS = {
    "dv": {"variant": "dv"},
    "bv": {"variant": "bv"},
    "pv": {"variant": "pv"},
    "dv of 3 features": {"variant": "dv", "features": 3},
    "bv of 3 features": {"variant": "bv", "features": 3, "feature_seed": 1},
}


def one_rank(rank, world, settings, uneven, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.manual_seed(rank)
    weighting = ClassVolume(COUNTS, **settings)
    rows, labels = epoch_batches()
    mine = torch.zeros(len(labels), dtype=torch.bool) if uneven and rank else torch.arange(len(labels)) % world == rank
    if uneven and not rank:
        mine[:] = True
    for part in mine.nonzero().flatten().split(16):
        weighting.observe(rows[part], labels[part])
    weighting.end_epoch()
    torch.save(weighting.weights, Path(folder) / f"{rank}.pt")
    leave_group()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("uneven", [False, True], ids=["shared", "one rank sees nothing"])
def test_two_ranks_hold_identical_weights_equal_to_one_process(settings, uneven):
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(one_rank, args=(2, SETTINGS[settings], uneven, folder), nprocs=2)
        first, second = (torch.load(Path(folder) / f"{rank}.pt") for rank in range(2))
    alone = ClassVolume(COUNTS, **SETTINGS[settings])
    alone.observe(*epoch_batches())
    alone.end_epoch()
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone.weights, rtol=1e-6, atol=0)
