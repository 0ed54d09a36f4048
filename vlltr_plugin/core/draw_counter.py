"""How many samples of each class training has drawn since the last epoch ended, counted without waiting for a GPU."""

from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.passes import readable
from vlltr_plugin.core.placement import outside_inference_mode, unshare
from vlltr_plugin.core.targets import constituent_masses


class DrawCounter:
    """Adds up the samples of each class on the device that they come on; mixed ones by mass.

    Args:
        num_classes: C.
    """

    @outside_inference_mode
    def __init__(self, num_classes: int) -> None:
        self.drawn = torch.zeros(num_classes, dtype=torch.float64, device="cpu")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a copy or unpickling."""
        vars(self).update(state)
        unshare(vars(self))

    @outside_inference_mode
    def add(self, targets: Tensor, smoothing: float = 0.0, kept: Tensor | None = None) -> None:
        """Counts a batch; labels out of range, which only a GPU lets pass until here, are left out.

        Args:
            targets: int64 `[B]` or floating point `[B, C]`, on a device that holds float64.
            smoothing: label smoothing already in floating point targets.
            kept: which rows count, bool `[B]`; None for all.
        """
        self.drawn = self.drawn.to(targets.device)
        if targets.is_floating_point():
            mean = targets.detach().mean(dim=0, keepdim=True, dtype=torch.float64)  # masses are linear in targets
            if len(targets):
                self.drawn += len(targets) * constituent_masses(mean, smoothing)[0]
            return
        if kept is None and readable(targets):  # whose labels were checked
            self.drawn += torch.bincount(targets, minlength=len(self.drawn))
            return
        counted = (targets >= 0) & (targets < len(self.drawn))
        counted = counted if kept is None else counted & kept.to(targets.device)
        self.drawn.index_add_(0, targets.clamp(0, len(self.drawn) - 1), counted.double())

    @outside_inference_mode
    def take(self) -> Tensor:
        """What was counted since the last call, float64 `[C]`."""
        drawn, self.drawn = self.drawn, torch.zeros_like(self.drawn)
        return drawn
