"""Ranks of a process group: they must agree on settings, and merge statistics in a fixed number of collectives."""

import hashlib
import json
import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vlltr_plugin.core.arguments import shortened
from vlltr_plugin.core.moments import ClassMoments


def world_size() -> int:
    """Number of ranks; 1 without an initialised process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first_rank() -> bool:
    """True on the rank that writes files."""
    return world_size() == 1 or dist.get_rank() == 0


def collective_device(device: torch.device) -> torch.device:
    """`device`, unless the process group can only reduce tensors on a GPU (NCCL)."""
    if world_size() > 1 and device.type == "cpu" and dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return device


def merge_moments(moments: ClassMoments) -> None:
    """Adds up the moments of all ranks, in place, in six collectives; allocates a tensor [C, D] for the common pivot.

    The common pivot of a class is that of the lowest rank that saw it. Every rank moves its sums there, then they are
    added.
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
    """Returns rank 0's values on every rank, so that ranks do not drift apart by the rounding of a collective."""
    if world_size() == 1:
        return values
    shared = values.to(collective_device(values.device), copy=True)
    dist.broadcast(shared, src=0)
    return shared.to(values.device)


NUMBERS_TOLERANCE = 1e-5  # relative tolerance on vectors that each rank has computed itself


def refuse_differing_ranks(values: dict[str, Any], device: torch.device) -> None:
    """Raises ValueError on every rank unless all ranks have the same values, up to rounding of lists of floats.

    One collective of 32 bytes a rank if all agree to the last digit, three otherwise; their shapes depend on no value,
    so that ranks with different numbers of classes can take part. RuntimeError if the other ranks do not come: after
    the process group's timeout, with gloo and (as far as NCCL raises an error and does not end the process) on a GPU.
    """
    if world_size() == 1:
        return
    text = json.dumps(values, sort_keys=True, default=repr).encode()
    digest = torch.frombuffer(bytearray(hashlib.sha256(text).digest()), dtype=torch.uint8)
    try:
        digests = _of_all_ranks(digest, device)
    except RuntimeError as error:
        raise RuntimeError(
            "Expected every rank to call end_epoch at the same time but at least one did not: call it on every rank, "
            "once an epoch, and not under `if rank == 0`. A rank that failed earlier has printed its own error. "
            "init_process_group(timeout=...) sets how long ranks wait."
        ) from error
    if bool((digests == digest).all()):
        return
    sizes = _of_all_ranks(torch.tensor([len(text)], device="cpu"), device).flatten().tolist()
    padded = torch.frombuffer(bytearray(text.ljust(max(sizes))), dtype=torch.uint8)
    cards = [json.loads(bytes(row.tolist())) for row in _of_all_ranks(padded, device)]
    differences = []
    for name in sorted(set().union(*cards)):
        first, *others = (card.get(name) for card in cards)
        other = next((rank for rank, value in enumerate(others, 1) if not _same(first, value)), None)
        if other is not None:
            differences.append(f"{name} ({_shown(first, others[other - 1], other)})")
    if differences:
        raise ValueError(
            f"Expected the same re-weighting on all ranks but they differ in {'; '.join(differences)}. Give every rank "
            "the same settings, epoch and state, and the class counts and draws of the whole training set, not those "
            "of its own share."
        )


def fail_together(failure: Exception | None, has_result: bool, device: torch.device) -> None:
    """Raises an error on every rank if a step failed on one (there `failure`), or has a result on some ranks only."""
    kind = -1 if failure is not None else int(has_result)
    kinds = _of_all_ranks(torch.tensor([kind], device="cpu"), device).flatten().tolist() if world_size() > 1 else [kind]
    if failure is not None:
        raise failure
    if -1 in kinds:
        raise ValueError(f"Expected no error on any rank but rank {kinds.index(-1)} failed: see its own error.")
    if len(set(kinds)) > 1:
        raise ValueError(
            f"Expected radii on all ranks or on none but rank {kinds.index(0)} has none and another rank has them."
        )


def _of_all_ranks(values: Tensor, device: torch.device) -> Tensor:
    """The vectors of all ranks, `[ranks, size]` on the CPU; uses a sum, which every backend supports."""
    gathered = torch.zeros(world_size(), len(values), dtype=values.dtype, device=collective_device(device))
    gathered[dist.get_rank()] = values.to(gathered.device)
    dist.all_reduce(gathered)
    return gathered.cpu()


def _same(a: Any, b: Any) -> bool:
    vectors = all(isinstance(value, list) and any(isinstance(item, float) for item in value) for value in (a, b))
    if vectors and len(a) == len(b):
        pairs = zip(a, b, strict=True)
        return all(math.isclose(x, y, rel_tol=NUMBERS_TOLERANCE, abs_tol=1e-12) for x, y in pairs)
    return bool(a == b)


def _shown(a: Any, b: Any, rank: int) -> str:
    """Both values, for a message; for lists of equal length only the first entry that differs, counted from 0."""
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return f"rank 0 has {len(a)} numbers, rank {rank} has {len(b)}"
        place = next(i for i, pair in enumerate(zip(a, b, strict=True)) if not _same([pair[0]], [pair[1]]))
        return f"number {place}: rank 0 has {shortened(a[place])}, rank {rank} has {shortened(b[place])}"
    return f"rank 0 has {shortened(a)}, rank {rank} has {shortened(b)}"
