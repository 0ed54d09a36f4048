"""Merging across ranks: a fixed number of collectives at the end of an epoch, whatever the data."""

import torch
import torch.distributed as dist
from torch import Tensor

from vlltr_plugin.core.moments import ClassMoments


def world_size() -> int:
    """Number of ranks; 1 without an initialised process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first_rank() -> bool:
    """Whether this is the rank that writes files."""
    return world_size() == 1 or dist.get_rank() == 0


def collective_device(device: torch.device) -> torch.device:
    """`device`, unless the process group can only reduce tensors on a GPU (NCCL)."""
    if world_size() > 1 and device.type == "cpu" and dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return device


def merge_moments(moments: ClassMoments) -> None:
    """Adds up the moments of all ranks, in place, so that each holds those of every sample.

    Each class takes the pivot of the lowest rank that saw it; every rank moves its sums there, then
    they add. Six collectives, and one more tensor [C, D] for the common pivot. No-op on a single rank.
    """
    if world_size() == 1:
        return
    rank = dist.get_rank()
    owner = torch.where(moments.mass > 0, rank, world_size())
    dist.all_reduce(owner, op=dist.ReduceOp.MIN)
    pivot = torch.where((owner == rank)[:, None], moments.pivot, 0.0)
    dist.all_reduce(pivot)
    moments.repivot(pivot)
    for name in moments.ADD_OVER_RANKS:
        dist.all_reduce(getattr(moments, name))


def sum_over_ranks(values: Tensor) -> Tensor:
    """The elementwise sum over all ranks of a small tensor; a new tensor on its device."""
    if world_size() == 1:
        return values.clone()
    total = values.to(collective_device(values.device), copy=True)
    dist.all_reduce(total)
    return total.to(values.device)


def same_on_all_ranks(values: Tensor) -> Tensor:
    """Rank 0's values on every rank, so that no rounding of a collective can let them drift apart."""
    if world_size() == 1:
        return values
    shared = values.to(collective_device(values.device), copy=True)
    dist.broadcast(shared, src=0)
    return shared.to(values.device)
