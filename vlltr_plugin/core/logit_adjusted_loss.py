"""The class weights as margins: cross entropy of logits lowered by log alpha."""

import math
from typing import Any

from torch import Tensor

from vlltr_plugin.core.base_losses import SoftmaxLosses
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.weighting import Weighting

CROSS_ENTROPY = SoftmaxLosses()


class LogitAdjustedLoss(Criterion):
    """Mean over the batch of the softmax cross entropy of z - tau log alpha, alpha ~ r / m (or r / n).

    With equal radii and `counts="dataset"` that is the logit-adjusted loss (Menon et al., ICLR 2021, Eq. 10) at tau,
    and at tau = 1 balanced softmax (Ren et al., NeurIPS 2020, Eq. 3). So it is until radii apply, in the first epoch
    and before `start_epoch`: all radii count as equal then, whatever the weighting (`Uniform` gives plain cross
    entropy throughout). A constant factor of alpha changes nothing: `normalize` and E(alpha) = 1 do not matter here.
    A class without samples takes the largest log alpha of the others: any constant would depend on the scale.

    Statistics are those of the logits as they come, unadjusted; at test time they are used so, too, and in eval mode
    the loss is plain cross entropy. The state is the
    weighting's alone: what `ReweightedLoss` saved loads here, and the other way round.

    Args:
        weighting: where alpha comes from, for example `ClassVolume`.
        tau: strength of the margins, 0 or more; 0 is plain cross entropy.
        smoothing: as in `Criterion`: label smoothing of the adjusted logits.
        ignore_index: as in `Criterion`.
        reduction: as in `Criterion`.

    Raises:
        ValueError: for a tau that is negative or no finite number, or a smoothing, ignore_index or reduction that does
            not fit.

    Example:
        >>> import torch
        >>> from vlltr_plugin import ClassVolume, LogitAdjustedLoss
        >>> criterion = LogitAdjustedLoss(ClassVolume([900, 90, 9]), tau=1.0)
        >>> for epoch in range(2):
        ...     for _ in range(4):
        ...         logits = torch.randn(30, 3, requires_grad=True)
        ...         criterion(logits, torch.arange(30) % 3).backward()
        ...     statistics = criterion.end_epoch()
    """

    def __init__(
        self,
        weighting: Weighting,
        tau: float = 1.0,
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weighting, smoothing, ignore_index, reduction)
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not 0 <= tau < math.inf:
            raise ValueError(f"Expected tau to be a finite number, 0 or more, but got {tau!r}.")
        self.tau = float(tau)
        weighting.update_margins()

    def in_force(self) -> Tensor:
        """As in `Criterion`; the margins are tau times its logarithm."""
        return self.weighting.margins.exp().float()

    def extra_repr(self) -> str:
        """As in `Criterion`, and tau."""
        return f"tau={self.tau}, {super().extra_repr()}"

    def _must_agree(self) -> dict[str, Any]:
        return {**super()._must_agree(), "tau": self.tau}

    def _losses(self, logits: Tensor, targets: Tensor, weighted: bool = True) -> Tensor:
        self.weighting.follow(logits.device)
        tau = self.tau if weighted else 0.0
        margins = (tau * self.weighting.margins).to(logits.dtype).to(logits.device)
        if targets.is_floating_point():  # the smoothing is in them
            return CROSS_ENTROPY.of_mixtures(logits - margins, targets.to(logits.dtype), smoothing=0.0)
        return CROSS_ENTROPY.of_labels(logits - margins, targets, self.smoothing)
