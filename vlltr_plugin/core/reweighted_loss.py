"""The criterion: a base loss whose samples are weighted by class, exact for mixed and smoothed targets."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.core.base_losses import FocalLosses, LossMatrix, base_loss, softmax_losses
from vlltr_plugin.core.targets import check_smoothing, check_targets, constituent_masses, constituents
from vlltr_plugin.core.weighting import Weighting

PerSampleLoss = Callable[[Tensor, Tensor], Tensor]


class ReweightedLoss(nn.Module):
    """Mean over the batch of alpha_y * l(x, y), the plain mean: E(alpha) = 1 keeps the scale of the loss.

    A target mixed of labels k with masses m_k costs sum_k m_k alpha_k LS_eps(x, k), LS_eps the label-smoothed loss
    of the hard label k: each constituent is weighted as the training sample that it is.

    Args:
        weighting: where the class weights come from, for example `ClassVolume`.
        base: `"softmax"`, `"sigmoid"`, `"focal"`, a `FocalLosses(gamma)`, or any callable that maps logits
            `[B, C]` and int64 labels `[B]` to one loss for each sample, `[B]`.
        smoothing: label smoothing eps in [0, 1). Applied to int64 targets; already contained in floating
            point ones, where it must be told to be undone. A callable base smooths by itself: there it only
            says what floating point targets contain.

    Raises:
        ValueError: for an unknown base or a smoothing outside [0, 1).

    Example:
        >>> from vlltr_plugin import ClassVolume, ReweightedLoss
        >>> criterion = ReweightedLoss(ClassVolume([900, 90, 9]), smoothing=0.1)
        >>> for epoch in range(2):
        ...     for _ in range(4):
        ...         logits = torch.randn(30, 3, requires_grad=True)
        ...         criterion(logits, torch.arange(30) % 3).backward()
        ...     criterion.end_epoch()
    """

    def __init__(
        self,
        weighting: Weighting,
        base: str | FocalLosses | PerSampleLoss = "softmax",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"Expected smoothing in [0, 1) but got {smoothing}.")
        self.weighting = weighting
        self.smoothing = smoothing
        self._loss_matrix: LossMatrix | None = None
        self._loss_per_sample: PerSampleLoss | None = None
        if isinstance(base, str):
            self._loss_matrix = base_loss(base)
        elif isinstance(base, FocalLosses):
            self._loss_matrix = base
        else:
            self._loss_per_sample = base
        self._smoothing_checked = False

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Weighted loss; feeds the batch to the statistics while training (not in eval mode, not in no_grad).

        Args:
            logits: `[B, C]`; computed in float32 at least, also under autocast.
            targets: int64 `[B]`, or floating point `[B, C]` with rows that sum to 1.

        Returns:
            The loss, a scalar.

        Raises:
            ValueError: for shapes, labels, row sums or a smoothing that do not fit (on a GPU the latter two are
                checked in the first batch only, so that no other step waits for it).
            TypeError: for dtypes that do not fit.
        """
        self.check(logits, targets)
        logits = _widened(logits)
        if self.training and torch.is_grad_enabled():
            self.weighting.observe(logits, targets, self.smoothing)
        return self._losses(logits, targets).mean()

    def observe(self, logits: Tensor, targets: Tensor) -> None:
        """The streaming half alone."""
        self.check(logits, targets)
        self.weighting.observe(logits, targets, self.smoothing)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Weighted loss of each sample, `[B]`; observes nothing."""
        self.check(logits, targets)
        return self._losses(_widened(logits), targets)

    def check(self, logits: Tensor, targets: Tensor) -> None:
        """Raises what `forward` would for a batch that does not fit; changes nothing."""
        check_targets(logits, targets, self.weighting.num_classes)
        if targets.is_floating_point() and (targets.device.type == "cpu" or not self._smoothing_checked):
            check_smoothing(targets, self.smoothing)
            self._smoothing_checked = True

    def end_epoch(self, epoch: int | None = None) -> None:
        """Folds the statistics into new weights; see `Weighting.end_epoch`."""
        self.weighting.end_epoch(epoch)

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        self.weighting.follow(logits.device)
        alpha = self.weighting.weights.to(logits.dtype)
        if self._loss_per_sample is not None:
            return self._from_constituents(self._loss_per_sample, logits, targets, alpha)
        assert self._loss_matrix is not None
        # Minus the losses, since for softmax these are there without another matrix [B, C].
        gains = F.log_softmax(logits, dim=1) if self._loss_matrix is softmax_losses else -self._loss_matrix(logits)
        if targets.is_floating_point():
            return -(self._label_weights(targets, alpha) * gains).sum(dim=1)
        losses = F.nll_loss(gains, targets, reduction="none")
        if self.smoothing:
            losses = torch.sub(losses * (1.0 - self.smoothing), gains.sum(dim=1), alpha=self.smoothing / gains.shape[1])
        return alpha.index_select(0, targets) * losses

    def _label_weights(self, targets: Tensor, alpha: Tensor) -> Tensor:
        """The weight of every label's loss: (1 - eps) m_k alpha_k + eps/C sum_j m_j alpha_j, `[B, C]`."""
        weighted = constituent_masses(targets, self.smoothing).to(alpha).mul_(alpha)
        if not self.smoothing:
            return weighted
        uniform = weighted.mean(dim=1, keepdim=True) * self.smoothing
        return weighted.mul_(1.0 - self.smoothing).add_(uniform)

    def _from_constituents(self, base: PerSampleLoss, logits: Tensor, targets: Tensor, alpha: Tensor) -> Tensor:
        if not targets.is_floating_point():
            return alpha[targets] * _checked(base(logits, targets), targets)
        labels, masses = constituents(targets, self.smoothing)
        weights = masses.to(alpha) * alpha[labels]
        columns = zip(labels.unbind(1), weights.unbind(1), strict=True)
        return torch.stack([weight * _checked(base(logits, label), label) for label, weight in columns]).sum(dim=0)


def _widened(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _checked(losses: Tensor, labels: Tensor) -> Tensor:
    if losses.shape != labels.shape:
        raise ValueError(
            f"Expected the base loss to return one loss for each sample, shape {list(labels.shape)}, but got "
            f"{list(losses.shape)}: give it reduction='none'."
        )
    return losses
