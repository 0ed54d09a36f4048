"""Leaving a process group in a test."""

import time

import torch.distributed as dist


def leave_group() -> None:
    """Ends the group a moment after its last collective.

    Before torch 2.8, gloo's destructor joins its threads while it holds Python's global lock; a thread that is about to
    let go of a collective's tensor waits for that lock, and neither goes on. A training has work between its last
    collective and its end; these tests have none.
    """
    time.sleep(0.2)
    dist.destroy_process_group()
