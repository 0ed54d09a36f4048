"""The hook on two gloo ranks."""

import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mini_host import COUNTS, MiniHost
from process_groups import leave_group
from torch.nn.parallel import DistributedDataParallel


def one_rank(rank, reweight, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    sys.modules["datasets"] = types.ModuleType("datasets")
    sys.modules["datasets"].build_transform = lambda is_train, args: lambda image: image
    host = MiniHost(reweight, mixed=False)
    host.model = DistributedDataParallel(host.model)
    host.args.output_dir = f"{folder}/run{rank}"
    if rank:
        host.dataset.data[:3] = math.nan
    seen = []
    if reweight.get("source") == "clean_pass":
        host.model.module.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    host.attach()
    host.hook.begin_epoch(0)
    outputs = host.model(host.dataset.data[:16])
    for branch in outputs:
        host.criterion(None, branch, torch.tensor(host.dataset.targets[:16]))
    seen.clear()
    stats = host.hook.end_epoch(0)
    weighting = next(iter(host.hook.weightings.values()))
    torch.save({"stats": stats, "weights": weighting.weights, "seen": sum(seen)}, f"{folder}/{rank}.pt")
    leave_group()


def two_ranks(folder: Path, reweight) -> list:
    mp.spawn(one_rank, args=(reweight, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_counts_of_all_ranks_are_summed_and_the_first_rank_alone_writes(tmp_path):
    first, second = two_ranks(tmp_path, {"type": "class_volume"})
    assert first["stats"]["reweight_skipped"] == second["stats"]["reweight_skipped"] == 3
    assert np.load(tmp_path / "run0" / "reweight" / "epoch_0000.npz")["drawn"].sum() == 32
    assert not (tmp_path / "run1").exists()
    assert torch.equal(first["weights"], second["weights"])


@pytest.mark.parametrize("every", [1, 2])
def test_a_clean_pass_is_shared_out(tmp_path, every):
    first, second = two_ranks(tmp_path, {"type": "class_volume", "source": "clean_pass", "every": every})
    total = sum(COUNTS) if every == 1 else 0
    assert [first["seen"], second["seen"]] == [total // 2, total // 2]
    assert torch.equal(first["weights"], second["weights"])
