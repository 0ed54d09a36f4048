"""Base losses of the methods that class volume is compared with, one loss for each sample."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin.cifar_lt.resnet import COSINE_SCALE

LARGEST_MARGIN = 0.5

LADER_SHARE, LADER_RIDGE = 0.1, 0.01
"""Of the regulariser in the loss, and of its own quadratic term: the LADE authors' values for CIFAR-100-LT."""

INFLUENCE_SCALE, INFLUENCE_FLOOR = 1000.0, 1e-3
"""The influence-balanced loss's alpha, and what keeps it from dividing by 0: its authors' values."""


class LDAMLoss:
    """Softmax cross entropy whose label's cosine is lowered by a margin ~ n^(-1/4) (Cao et al., NeurIPS 2019, Eq. 13).

    The rarest class has margin 0.5.
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
    """

    def __init__(self, class_counts: Tensor) -> None:
        self.log_counts = class_counts.double().log().float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits `[B, C]` and int64 labels `[B]` to losses `[B]`."""
        self.log_counts = self.log_counts.to(logits)  # moved once
        return F.cross_entropy(logits + self.log_counts, labels, reduction="none")


class LADELoss:
    """Balanced softmax and a regulariser that makes z_c estimate log p(x|c) / p(x) (Hong et al., CVPR 2021, "LADE").

    With p_c = n_c / sum n and g_c = log mean_b exp(z_bc - log(C p_c)), both over the batch, the regulariser is
    sum_c p_c (g_c + ridge g_c^2 - mean of z_bc over the samples of class c); a class without samples has mean 0.
    """

    def __init__(self, class_counts: Tensor) -> None:
        self.balanced_softmax = BalancedSoftmaxLoss(class_counts)
        self.share = (class_counts.double() / class_counts.sum()).float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits `[B, C]` and int64 labels `[B]` to losses `[B]`; each holds the batch's regulariser."""
        self.share = self.share.to(logits)  # moved once
        return self.balanced_softmax(logits, labels) + LADER_SHARE * self._regulariser(logits, labels)

    def _regulariser(self, logits: Tensor, labels: Tensor) -> Tensor:
        own = F.one_hot(labels, logits.shape[1]).to(logits)
        of_class = (own * logits).sum(dim=0) / own.sum(dim=0).clamp(min=1)
        of_all = (logits - (len(self.share) * self.share).log()).logsumexp(dim=0) - math.log(len(logits))
        return (self.share * (of_all + LADER_RIDGE * of_all**2 - of_class)).sum()


def influence_factors(logits: Tensor, targets: Tensor, feature_norms: Tensor) -> Tensor:
    """What the influence-balanced loss multiplies each sample's loss by (Park et al., ICCV 2021).

    alpha / (|softmax(z) - t|_1 |h|_1 + floor), `[B]`: one over the influence of the sample on the last layer, where
    |h|_1 are the `feature_norms`, `[B]`. The gradient flows through it, as in the authors' code.
    """
    wanted = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1])
    distance = (logits.softmax(dim=1) - wanted).abs().sum(dim=1)
    return INFLUENCE_SCALE / (distance * feature_norms + INFLUENCE_FLOOR)
