"""Process groups in tests: work on two ranks, and leaving a group."""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_two_ranks(work: Any, *args: Any) -> list[Any]:
    """What `work(rank, *args)` returns on each of two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_one_rank, args=(folder, work, args), nprocs=2)
        return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(2)]


def _one_rank(rank: int, folder: str, work: Any, args: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(work(rank, *args), Path(folder, f"{rank}.pt"))
    leave_group()


def leave_group() -> None:
    """Ends the group a moment after its last collective.

    Before torch 2.8, gloo's destructor joins its threads while it holds Python's global lock; a thread that is about to
    let go of a collective's tensor waits for that lock, and neither goes on. A training has work between its last
    collective and its end; these tests have none.
    """
    time.sleep(0.2)
    dist.destroy_process_group()
