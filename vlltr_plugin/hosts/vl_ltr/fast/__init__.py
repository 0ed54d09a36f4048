"""`fast_head` and `fast_tower` of a config: checked together, then applied to the model in place."""

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vlltr_plugin.hosts.vl_ltr.fast.head import SentenceCache, check_head, fast_forward
from vlltr_plugin.hosts.vl_ltr.fast.in_place import replace_forward
from vlltr_plugin.hosts.vl_ltr.fast.tower import check_tower, install_tower
from vlltr_plugin.training.messages import info


def speed_up(args: Any, model: nn.Module) -> None:
    """Speeds up the model's head and tower without changing what they compute, if the config asks for it.

    Parameters, their names and the state dict do not change, so fast and stock runs can load each other's checkpoints.
    Without the two keys it does nothing. All checks run before anything is changed.

    Raises:
        ValueError: naming what to change, when the model would not compute the same.
    """
    wanted = {name: getattr(args, name, False) for name in ("fast_head", "fast_tower")}
    for name, value in wanted.items():
        if not isinstance(value, bool):
            raise ValueError(f"Expected {name} to be True or False but got {value!r}: correct the config.")
    wrapped = isinstance(model, DistributedDataParallel)
    inner: Any = model.module if wrapped else model
    if wanted["fast_head"]:
        check_head(inner)
    pairs = check_tower(inner) if wanted["fast_tower"] else []

    if wanted["fast_head"]:
        replace_forward(inner.text_block, fast_forward, sentence_cache=SentenceCache(inner))
        info("fast_head: the attention over the sentences computes the same without projecting them at each step.")
    if wanted["fast_tower"]:
        install_tower(inner.visual, pairs)
        # DDP need not send a frozen tower's batch norm statistics at every step, and its writes would not be noticed.
        of_tower = {id(buffer) for buffer in inner.visual.buffers()}
        if wrapped and all(id(buffer) in of_tower for buffer in model.buffers()):
            model.broadcast_buffers = False  # type: ignore[assignment]
        info(f"fast_tower: {len(pairs)} frozen batch norms run inside their convolutions, channels last.")
