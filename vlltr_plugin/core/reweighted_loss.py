"""The criterion: a base loss whose samples are weighted by class, exact for mixed and smoothed targets."""

import torch
from torch import Tensor, nn

from vlltr_plugin.core.base_losses import BaseLoss, PerSampleLoss, base_loss, base_loss_name
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.targets import constituent_masses
from vlltr_plugin.core.weighting import Weighting


class ReweightedLoss(Criterion):
    """Mean over the batch of alpha_y * l(x, y), the plain mean: E(alpha) = 1 keeps the scale of the loss.

    A target mixed of labels k with masses m_k costs sum_k m_k alpha_k LS_eps(x, k), LS_eps the label-smoothed loss
    of the hard label k: each constituent is weighted as the training sample that it is. In eval mode every alpha is 1.

    Args:
        weighting: where the class weights come from, for example `ClassVolume`.
        base: `"softmax"`, `"sigmoid"`, `"focal"`, a `BaseLoss` such as `FocalLosses(gamma)`, or any callable that
            maps logits `[B, C]` and int64 labels `[B]` to one loss for each sample, `[B]`.
        smoothing: as in `Criterion`. A callable base smooths by itself: there it only says what floating point
            targets contain.
        ignore_index: as in `Criterion`.
        reduction: as in `Criterion`.

    Raises:
        ValueError: for an unknown base, or a smoothing, ignore_index or reduction that does not fit.
        TypeError: for a base that cannot be called.

    Example:
        >>> import torch
        >>> from vlltr_plugin import ClassVolume, ReweightedLoss
        >>> criterion = ReweightedLoss(ClassVolume([900, 90, 9]), smoothing=0.1)
        >>> for epoch in range(2):
        ...     for _ in range(4):
        ...         logits = torch.randn(30, 3, requires_grad=True)
        ...         criterion(logits, torch.arange(30) % 3).backward()
        ...     statistics = criterion.end_epoch()
    """

    def __init__(
        self,
        weighting: Weighting,
        base: str | BaseLoss | PerSampleLoss = "softmax",
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weighting, smoothing, ignore_index, reduction)
        self._base = base_loss(base)
        if isinstance(base, nn.Module) and not isinstance(base, BaseLoss):
            self._loss_per_sample = base  # its parameters are the criterion's, under a name that saved states have

    @property
    def base_name(self) -> str:
        """What the base loss is called."""
        return base_loss_name(self._base)

    def extra_repr(self) -> str:
        """As in `Criterion`, and the base loss."""
        return f"base={self.base_name!r}, {super().extra_repr()}"

    def _losses(self, logits: Tensor, targets: Tensor, weighted: bool = True) -> Tensor:
        self.weighting.follow(logits.device)
        weights = self.weighting.weights
        alpha = (weights if weighted else torch.ones_like(weights)).to(logits)
        if targets.is_floating_point():
            weights = constituent_masses(targets, self.smoothing, alpha)
            return self._base.of_mixtures(logits, weights, self.smoothing)
        return alpha.index_select(0, targets) * self._base.of_labels(logits, targets, self.smoothing)
