"""The loss of many methods at once, over logits that share a batch but no number."""

from __future__ import annotations

import torch
from frozen_tower_methods import Method
from torch import Tensor

from vlltr_plugin import Weighting
from vlltr_plugin.core.targets import constituent_masses


class Criteria:
    """R methods with a weighting each: `ReweightedLoss` and `LogitAdjustedLoss` of the product, vectorised.

    Args:
        methods: R of them.
        weightings: one for each.
        smoothing: label smoothing eps; with mixtures as targets, contained in them.
    """

    def __init__(self, methods: list[Method], weightings: list[Weighting], smoothing: float) -> None:
        self.methods, self.weightings, self.smoothing = methods, weightings, smoothing
        for weighting in weightings:
            weighting.update_margins()
        self.refresh()

    def refresh(self) -> None:
        """Takes the weights in force: `scales` and `margins`, `[R, C]`."""
        if not self.weightings:
            return
        weights = torch.stack([weighting.weights for weighting in self.weightings])
        margins = torch.stack([weighting.margins for weighting in self.weightings]).float()
        taus = torch.tensor([method.tau for method in self.methods])[:, None]
        as_margin = torch.tensor([method.form != "weights" for method in self.methods])[:, None]
        self.scales = torch.where(as_margin, 1.0, weights)
        self.margins = torch.where(as_margin, taus * margins, 0.0)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The sum over the methods of each one's batch mean.

        Args:
            logits: `[B, R, C]`, the columns of R in the order of the methods.
            targets: int64 `[B]`, or smoothed mixtures, float `[B, C]`.
        """
        gains = torch.log_softmax(logits - self.margins, dim=2)
        if targets.is_floating_point():
            weighted = constituent_masses(targets, self.smoothing)[:, None] * self.scales
            label_weights = weighted * (1 - self.smoothing) + self.smoothing * weighted.mean(dim=2, keepdim=True)
            return -(label_weights * gains).sum() / len(targets)
        own = gains.gather(2, targets[:, None, None].expand(-1, gains.shape[1], 1)).squeeze(2)
        smooth = (1 - self.smoothing) * own + self.smoothing * gains.mean(dim=2)
        return -(self.scales[:, targets].T * smooth).sum() / len(targets)

    def observe(self, logits: Tensor, columns: list[int], targets: Tensor, held_out: bool = False) -> None:
        """Feeds logits `[B, ., C]`, of each method its column, to those that learn their radii from such images."""
        logits = logits.detach()
        for column, method, weighting in zip(columns, self.methods, self.weightings, strict=True):
            if weighting.uses_logits and method.held_out == held_out:
                weighting.observe(logits[:, column], targets, 0.0 if held_out else self.smoothing)

    def end_epoch(self, epoch: int, observed: bool) -> None:
        """Folds what was observed into the weights of the next epoch."""
        for weighting in self.weightings:
            if observed or not weighting.uses_logits:
                weighting.end_epoch(epoch)
            else:
                weighting.begin_epoch(epoch + 1)
        self.refresh()
