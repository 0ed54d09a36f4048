"""Base losses of the methods that class volume is compared with, one loss for each sample."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin.cifar_lt.resnet import COSINE_SCALE

LARGEST_MARGIN = 0.5


class LDAMLoss:
    """Softmax cross entropy whose label's cosine is lowered by a margin ~ n^(-1/4) (Cao et al., NeurIPS 2019, Eq. 13).

    Args:
        class_counts: n_i, `[C]`; the rarest class has margin 0.5.
    """

    def __init__(self, class_counts: Tensor) -> None:
        margins = class_counts.double() ** -0.25
        self.margins = (margins * (LARGEST_MARGIN / margins.max())).float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits `[B, C]` (scaled cosines) and int64 labels `[B]` to losses `[B]`."""
        self.margins = self.margins.to(logits)  # moved once
        margin = COSINE_SCALE * self.margins[labels]
        lowered = logits.scatter_add(1, labels[:, None], -margin[:, None])
        return F.cross_entropy(lowered, labels, reduction="none")


class BalancedSoftmaxLoss:
    """Softmax cross entropy of z_j + log n_j (Ren et al., NeurIPS 2020, Eq. 3).

    It is also the logit-adjusted loss of Menon et al., ICLR 2021, Eq. 10, at tau = 1.

    Args:
        class_counts: n_i, `[C]`.
    """

    def __init__(self, class_counts: Tensor) -> None:
        self.log_counts = class_counts.double().log().float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits `[B, C]` and int64 labels `[B]` to losses `[B]`."""
        self.log_counts = self.log_counts.to(logits)  # moved once
        return F.cross_entropy(logits + self.log_counts, labels, reduction="none")
