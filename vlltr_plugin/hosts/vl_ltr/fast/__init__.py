"""`fast_head` and `fast_tower` of a config: checked together, then put into the model in place."""

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vlltr_plugin.hosts.vl_ltr.fast.head import check_head, install_head
from vlltr_plugin.hosts.vl_ltr.fast.tower import check_tower, install_tower
from vlltr_plugin.training.messages import info


def speed_up(args: Any, model: nn.Module) -> None:
    """Makes the model's head and tower compute the same with less work, as the config asks.

    Parameters, their names and the state dict stay as they are, so checkpoints go both ways between fast and stock
    runs. Without the two keys it does nothing. Everything is checked before anything is changed.

    Raises:
        ValueError: naming what to change, when the model would not compute the same.
    """
    fast_head, fast_tower = _flag(args, "fast_head"), _flag(args, "fast_tower")
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    if fast_head:
        check_head(inner)
    pairs = check_tower(inner) if fast_tower else []
    if fast_head:
        install_head(inner)
        info("fast_head: the attention over the sentences computes the same without projecting them at each step.")
    if fast_tower:
        install_tower(pairs)
        _stop_broadcasts(model)
        info(f"fast_tower: {len(pairs)} frozen batch norms run inside their convolutions, channels last.")


def _flag(args: Any, name: str) -> bool:
    value = getattr(args, name, False)
    if not isinstance(value, bool):
        raise ValueError(f"Expected {name} to be True or False but got {value!r}: correct the config.")
    return value


def _stop_broadcasts(model: nn.Module) -> None:
    """DDP need not send a frozen tower's batch norm statistics at every step, and would write them unnoticed."""
    if isinstance(model, DistributedDataParallel):
        of_tower = {id(buffer) for buffer in model.module.visual.buffers()}
        if all(id(buffer) in of_tower for buffer in model.buffers()):
            model.broadcast_buffers = False
