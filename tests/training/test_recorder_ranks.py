"""RunRecorder on several ranks: the first writes and reads for all."""

import math
import tempfile
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from process_groups import leave_group
from recorded_run import COUNTS, observe

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss, RunRecorder
from vlltr_plugin.report.compare import load_run


def one_rank(rank, world, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    mine = Path(folder) / str(rank)  # no shared disk
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    recorder = RunRecorder(mine, criterion)
    observe(criterion, rank)
    recorder.end_epoch(overall=1.0)
    again = ReweightedLoss(ClassVolume(COUNTS))
    resumed = RunRecorder(mine, again)
    start = resumed.resume()
    torch.save((start, again.weighting.weights, criterion.weighting.weights), f"{mine}.pt")
    leave_group()


def test_the_first_rank_writes_and_reads_for_all():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(one_rank, args=(2, folder), nprocs=2)
        found = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]
        assert (Path(folder) / "0" / "log.txt").is_file()
        assert not (Path(folder) / "1").exists()
    for start, again, first in found:
        assert start == 1
        assert torch.equal(again, found[0][2])
        assert torch.equal(first, found[0][2])
        assert not math.isclose(float(again.max()), 1.0)


def one_late_rank(rank, world, folder, with_criterion):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    criterion = ReweightedLoss(ClassVolume(COUNTS)) if with_criterion else None
    recorder = RunRecorder(f"{folder}/run", criterion)
    found = []
    for epoch in range(2):
        dist.barrier()
        time.sleep(0.5 * rank)
        try:
            recorder.end_epoch(epoch, overall=50.0 + epoch)
        except ValueError as error:
            found.append(str(error))
    Path(f"{folder}/{rank}.txt").write_text("\n".join(found))
    dist.barrier()
    leave_group()


@pytest.mark.parametrize("with_criterion", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_late_rank_does_not_take_the_first_one_s_epoch_for_another_run(with_criterion, there):
    with tempfile.TemporaryDirectory() as folder:
        if there:
            before = RunRecorder(f"{folder}/run", ReweightedLoss(InverseFrequency(COUNTS)) if with_criterion else None)
            before.end_epoch(overall=1.0)
        mp.spawn(one_late_rank, args=(2, folder, with_criterion), nprocs=2)
        first, second = (Path(f"{folder}/{rank}.txt").read_text() for rank in range(2))
        assert first.count("up to epoch 0") == 2 * there
        assert second.count("up to epoch 0") == 2 * (there and with_criterion)
        assert load_run(Path(folder) / "run").last_epoch == (0 if there else 1)
