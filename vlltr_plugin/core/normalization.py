"""From class radii to loss weights: alpha_i = beta * r_i / n_i (paper, Eq. 6) and the choice of beta."""

import torch
from torch import Tensor

NORMALIZATIONS = ("expected", "dataset", "mean")

SMALLEST_WEIGHT = torch.finfo(torch.float32).tiny
"""Radii more than 38 digits apart (huge logits) would make a float32 weight 0, which no saved state may hold."""


def class_weights(log_radius: Tensor, divisor: Tensor, class_counts: Tensor, draws: Tensor, normalize: str) -> Tensor:
    """Class weights alpha, float64 `[C]`; a class without samples or draws gets 1 and is not normalised.

    The divisor is n_i (Eq. 6) or the expected draws m_i. `normalize` is `"expected"`, E(alpha) = 1 over the draws (the
    principle of Eq. 10), `"dataset"`, E(alpha) = 1 over the data set (Eq. 16), or `"mean"`, mean 1 over the classes.
    """
    present = (class_counts > 0) & (draws > 0)
    log_raw = (log_radius.double() - divisor.double().log()).masked_fill(~present, -torch.inf)
    raw = (log_raw - log_raw.max()).exp()
    share = {"expected": draws, "dataset": class_counts, "mean": torch.ones_like(draws)}[normalize].double()
    share = share.masked_fill(~present, 0.0)
    beta = share.sum() / (share * raw).sum()
    return torch.where(present, (beta * raw).clamp(min=SMALLEST_WEIGHT), 1.0)


def expected_alpha(weights: Tensor, draws: Tensor) -> float:
    """E(alpha) over the expected draws, sum_i m_i alpha_i / sum_i m_i (Eq. 14 with m for n)."""
    share = draws.double()
    return float((share * weights.to(draws.device).double()).sum() / share.sum())


def substitute(log_radius: Tensor, under_represented: Tensor) -> Tensor:
    """Gives under-represented classes the mean log radius of the others (paper, section 3.3; "S30")."""
    return torch.where(under_represented, log_radius[~under_represented].mean(), log_radius)


def log_sigma_bias(samples: Tensor) -> Tensor:
    """How far log sigma of n > 1 normal samples lies below the truth on average.

    The sample variance is sigma^2 chi^2_(n-1) / (n-1), and E log chi^2_k = log 2 + digamma(k / 2), so the
    bias is (log((n-1)/2) - digamma((n-1)/2)) / 2: a factor 0.53 on sigma at n = 2, 0.87 at n = 5.
    """
    half = (samples.double() - 1) / 2
    return (half.log() - torch.digamma(half)) / 2


def log_volume_bias(samples: Tensor, dim: int) -> Tensor:
    """How far the mean log standard deviation along all axes of n normal samples in `dim` dimensions is too low.

    The determinant of a sample covariance is a product of independent chi-squares with n - 1, n - 2, ... degrees of
    freedom (Bartlett's decomposition). For `dim` 1 this is `log_sigma_bias`. Where n is not above `dim`, n = dim + 0.5
    is taken, since there is no volume.
    """
    freedom = (samples.double() - 1).clamp(min=dim - 0.5)
    own = freedom[:, None] - torch.arange(dim, dtype=torch.float64, device=samples.device)
    return ((freedom / 2).log() - torch.digamma(own / 2).mean(dim=1)) / 2
