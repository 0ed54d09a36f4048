"""The loss of many methods at once, over logits that share a batch but no number."""

from __future__ import annotations

import torch
from frozen_tower_methods import Method
from torch import Tensor

from vlltr_plugin import Weighting
from vlltr_plugin.core.batch import unsmoothed

MANY = 1e9
"""Images of a class, more than ever come."""


class Criteria:
    """R methods with a weighting each: `ReweightedLoss` and `LogitAdjustedLoss` of the product, vectorised.

    Args:
        methods: R of them.
        weightings: one for each.
        starts: the first epoch in which weights or radii of each apply.
        smoothing: label smoothing eps; with mixtures as targets, contained in them.
    """

    def __init__(self, methods: list[Method], weightings: list[Weighting], starts: list[int], smoothing: float) -> None:
        self.methods, self.weightings, self.starts, self.smoothing = methods, weightings, starts, smoothing
        for weighting in weightings:
            weighting.update_margins()
        self.refresh()

    def refresh(self) -> None:
        """Takes what is in force: `scales` and `margins`, `[R, C]`."""
        if not self.weightings:
            return
        weights = torch.stack([weighting.weights for weighting in self.weightings])
        margins = torch.stack([weighting.margins for weighting in self.weightings]).float()
        taus = torch.tensor([method.tau for method in self.methods])[:, None]
        as_margin = torch.tensor([method.form != "weights" for method in self.methods])[:, None]
        self.scales = torch.where(as_margin, 1.0, weights)
        self.margins = torch.where(as_margin, taus * margins, 0.0)

    def loss(self, logits: Tensor, targets: Tensor, rows: list[int]) -> Tensor:
        """The sum over some methods of each one's batch mean.

        Args:
            logits: `[B, R, C]`, those of method `rows[i]` in column i.
            targets: int64 `[B]`, or smoothed mixtures, float `[B, C]`.
            rows: R of the methods.
        """
        scales = self.scales[rows]
        gains = torch.log_softmax(logits - self.margins[rows], dim=2)
        if targets.is_floating_point():
            weighted = unsmoothed(targets, self.smoothing)[:, None] / (1 - self.smoothing) * scales
            label_weights = weighted * (1 - self.smoothing) + self.smoothing * weighted.mean(dim=2, keepdim=True)
            return -(label_weights * gains).sum() / len(targets)
        own = gains.gather(2, targets[:, None, None].expand(-1, gains.shape[1], 1)).squeeze(2)
        smooth = (1 - self.smoothing) * own + self.smoothing * gains.mean(dim=2)
        return -(scales[:, targets].T * smooth).sum() / len(targets)

    def observe(self, logits: Tensor, columns: list[int], targets: Tensor, epoch: int, held_out: bool = False) -> None:
        """Feeds logits `[B, ., C]`, of each method its column, to those that learn their radii from such images."""
        logits = logits.detach()
        for row, (column, method) in enumerate(zip(columns, self.methods, strict=True)):
            if method.held_out == held_out and self._learns(row, epoch):
                self.weightings[row].observe(logits[:, column], targets, 0.0 if held_out else self.smoothing)

    def _learns(self, row: int, epoch: int) -> bool:
        """Whether a method takes its radii from an epoch: from the one before its weights apply on."""
        return self.weightings[row].uses_logits and epoch >= self.starts[row] - 1

    def end_epoch(self, epoch: int) -> None:
        """Folds what was observed into the weights of the next epoch."""
        for row, weighting in enumerate(self.weightings):
            if self._learns(row, epoch):
                counts = weighting.class_counts
                if self.methods[row].held_out:  # of test images each comes once, however few training images there are
                    weighting.class_counts = torch.full_like(counts, MANY)
                weighting.end_epoch(epoch)
                weighting.class_counts = counts
            weighting.begin_epoch(epoch + 1)
        self.refresh()
