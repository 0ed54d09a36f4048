"""ResNet-32 for 32x32 images, with replicas side by side in one network; base losses of the compared methods."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 5  # of each of the three stages: 6 * 5 + 2 = 32 layers
WIDTHS = (16, 32, 64)
COSINE_SCALE = 30.0  # of a cosine head's logits (Cao et al., NeurIPS 2019)
LARGEST_MARGIN = 0.5
LADER_SHARE, LADER_RIDGE = 0.1, 0.01
"""Weights of the regulariser in the loss and of its quadratic term: the LADE authors' values for CIFAR-100-LT."""

INFLUENCE_SCALE, INFLUENCE_FLOOR = 1000.0, 1e-3
"""The influence-balanced loss's alpha, and what keeps it from dividing by 0: its authors' values."""


class ResNet32(nn.Module):
    """The 32-layer residual network for CIFAR with parameter-free shortcuts (He et al., CVPR 2016, option A).

    S replicas share no number: their convolutions are the groups of one grouped convolution, and batch norm works
    on each channel alone anyway. Every replica is initialised from its own seed. With `cosine`, logits are scaled
    cosines, as LDAM wants them, not affine; `prior` starts the biases at -log(C - 1), as sigmoid losses need (Cui et
    al., CVPR 2019, section 4.2).
    """

    def __init__(self, num_classes: int, seeds: list[int], cosine: bool = False, prior: bool = False) -> None:
        super().__init__()
        replicas, width = len(seeds), WIDTHS[0]
        self.stem = _Convolution(3, width, replicas)
        blocks = []
        for out in WIDTHS:
            for block in range(BLOCKS):
                blocks.append(_Block(width, out, 2 if block == 0 and out != WIDTHS[0] else 1, replicas))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.head = _Head(width, num_classes, replicas, cosine, prior)
        with torch.no_grad():  # He et al.'s normal initialisation, ICCV 2015, of every weight but batch norm's
            for replica, seed in enumerate(seeds):
                generator = torch.Generator().manual_seed(seed)
                for module in self.modules():
                    if isinstance(module, nn.Conv2d | _Head):
                        weight = module.weight.chunk(replicas)[replica]
                        fan_in = weight[0].numel() if isinstance(module, nn.Conv2d) else weight.shape[-1]
                        weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images `[B, S*3, H, W]` to logits `[S, B, C]` and the L1 norms of the features they come from, `[S, B]`."""
        maps: Tensor = self.blocks(F.relu_(self.stem(images)))
        replicas, _, width = self.head.weight.shape
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 logits would blur margins and volumes
            features = maps.float().mean(dim=(2, 3)).reshape(len(images), replicas, width).transpose(0, 1)
            return self.head(features), features.abs().sum(dim=2)


class _Convolution(nn.Module):
    """3x3 convolution and batch norm of S replicas."""

    def __init__(self, width: int, out: int, replicas: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            width * replicas, out * replicas, 3, stride, padding=1, bias=False, groups=replicas
        )
        self.norm = nn.BatchNorm2d(out * replicas)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Two convolutions and a shortcut; where the width grows, it takes every second pixel and pads with zeros."""

    def __init__(self, width: int, out: int, stride: int, replicas: int) -> None:
        super().__init__()
        self.first = _Convolution(width, out, replicas, stride)
        self.second = _Convolution(out, out, replicas)
        self.stride, self.added, self.replicas = stride, out - width, replicas

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.second(F.relu_(self.first(x))).add_(self._shortcut(x)))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        half = x[:, :, :: self.stride, :: self.stride]
        zeros = half.new_zeros(len(half), self.added // 2, *half.shape[2:])
        parts = [part for replica in half.chunk(self.replicas, dim=1) for part in (zeros, replica, zeros)]
        return torch.cat(parts, dim=1)


class _Head(nn.Module):
    """Linear classifiers of S replicas."""

    def __init__(self, width: int, num_classes: int, replicas: int, cosine: bool, prior: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(replicas, num_classes, width))
        start = -torch.log(torch.tensor(num_classes - 1.0)).item() if prior else 0.0
        self.bias = None if cosine else nn.Parameter(torch.full((replicas, 1, num_classes), start))

    def forward(self, features: Tensor) -> Tensor:
        """Features `[S, B, width]` to logits `[S, B, C]`."""
        if self.bias is None:
            return COSINE_SCALE * F.normalize(features, dim=2) @ F.normalize(self.weight, dim=2).transpose(1, 2)
        return features @ self.weight.transpose(1, 2) + self.bias


class LDAMLoss:
    """Softmax cross entropy whose label's cosine is lowered by a margin ~ n^(-1/4) (Cao et al., NeurIPS 2019, Eq. 13).

    The rarest class has margin 0.5.
    """

    def __init__(self, class_counts: Tensor) -> None:
        margins = class_counts.double() ** -0.25
        self.margins = (margins * (LARGEST_MARGIN / margins.max())).float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses `[B]` of scaled cosines `[B, C]`."""
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
        """Losses `[B]`."""
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
        """Losses `[B]`; each holds the regulariser of the batch."""
        self.share = self.share.to(logits)  # moved once
        losses = self.balanced_softmax(logits, labels)
        own = F.one_hot(labels, logits.shape[1]).to(logits)
        of_class = (own * logits).sum(dim=0) / own.sum(dim=0).clamp(min=1)
        of_all = (logits - (len(self.share) * self.share).log()).logsumexp(dim=0) - math.log(len(logits))
        regulariser = (self.share * (of_all + LADER_RIDGE * of_all**2 - of_class)).sum()
        return losses + LADER_SHARE * regulariser


def influence_factors(logits: Tensor, targets: Tensor, feature_norms: Tensor) -> Tensor:
    """Factors of each sample's loss in the influence-balanced loss (Park et al., ICCV 2021).

    alpha / (|softmax(z) - t|_1 |h|_1 + floor), `[B]`: one over the influence of the sample on the last layer, where
    |h|_1 are the `feature_norms`, `[B]`. The gradient flows through it, as in the authors' code.
    """
    wanted = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1])
    distance = (logits.softmax(dim=1) - wanted).abs().sum(dim=1)
    return INFLUENCE_SCALE / (distance * feature_norms + INFLUENCE_FLOOR)
