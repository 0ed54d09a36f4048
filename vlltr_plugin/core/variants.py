"""The variants of class volume: which features of the logits are measured, and the log radius from them."""

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import check_whole
from vlltr_plugin.core.moments import ClassCovariances, ClassDifferences, ClassMoments


class Variant:
    """Variant dv for C classes: standard deviations of the logits, or of a random sample of them (`features`)."""

    fewest_features = 1
    columns: Tensor | None  # the sampled columns in ascending order, int64 `[features]`; None for all

    def __init__(self, num_classes: int, features: int | None = None, seed: int = 0) -> None:
        self.num_classes, self.columns = num_classes, None
        check_whole("feature_seed", seed, least=0)
        if features is None:
            return
        check_whole("features", features, least=self.fewest_features)
        if features > num_classes:
            raise ValueError(f"Expected features to be at most the {num_classes} classes but got {features}.")
        if features < num_classes:
            # Without replacement, so the mean of log sigma over them estimates the mean over all without bias.
            generator = torch.Generator(device="cpu").manual_seed(seed)
            columns = torch.randperm(num_classes, generator=generator, device="cpu")[:features]
            self.columns = columns.sort().values

    def empty_moments(self, device: torch.device, samples: float) -> ClassMoments:
        """Statistics of no sample; `samples` is what the largest class is expected to have, the same on all ranks."""
        dim = self.num_classes if self.columns is None else len(self.columns)
        return ClassMoments(self.num_classes, dim, device, samples)

    def features_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits that statistics need, `[B, D]`, of samples that count for the classes `labels`, `[B, K]`."""
        return logits if self.columns is None else logits.index_select(1, self.columns)

    def features_for(self, rows: Tensor, k: int) -> Tensor:
        """Of what `features_of` gave, the features of the samples as those of their k-th class."""
        return rows

    def log_radius(self, moments: ClassMoments, images: Tensor) -> Tensor:
        """Log r of each class, float64 `[C]`, from moments and the number of its images; not finite where unknown."""
        return moments.mean_log_sigma(images)

    def small_sample_bias(self, samples: Tensor) -> Tensor | None:
        """How far few normal samples put log r below the truth on average, `[C]`; None if that is not known."""
        return log_volume_bias(samples, 1)

    def why_no_radius(self, moments: ClassMoments, images: Tensor) -> str | None:
        """Why samples that differ in every logit give no radius; None if nothing is known."""
        return None

    def to(self, device: torch.device) -> None:
        """Moves the columns."""
        self.columns = None if self.columns is None else self.columns.to(device)


class BV(Variant):
    """Standard deviations of the differences f_i - f_j with the own logit (Eq. 8 and 9)."""

    fewest_features = 2

    def __init__(self, num_classes: int, features: int | None, seed: int) -> None:
        if num_classes < 2:
            raise ValueError("Expected at least 2 classes for variant='bv', which takes differences of logits.")
        super().__init__(num_classes, features, seed)

    def empty_moments(self, device: torch.device, samples: float) -> ClassMoments:
        """As in `Variant`."""
        columns = None if self.columns is None else self.columns.to(device)
        return ClassDifferences(self.num_classes, device, samples, columns)

    def features_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As in `Variant`; behind a sample of the logits those of the K own classes."""
        rows = super().features_of(logits, labels)
        if self.columns is None:
            return rows
        return torch.cat([rows, logits.gather(1, labels.clamp(0, self.num_classes - 1))], dim=1)

    def features_for(self, rows: Tensor, k: int) -> Tensor:
        """As in `Variant`."""
        if self.columns is None or rows.shape[1] == len(self.columns) + 1:
            return rows
        sampled, own = rows[:, : len(self.columns)], rows[:, len(self.columns) :]
        return torch.cat([sampled, own[:, k, None]], dim=1)


class PV(Variant):
    """Standard deviations along the first `axes` principal axes of the class (Eq. 7)."""

    def __init__(self, num_classes: int, axes: int | None, memory_limit: int) -> None:
        super().__init__(num_classes)
        self.axes = axes or num_classes
        needed = num_classes**3 * torch.float64.itemsize
        if needed > memory_limit:
            raise ValueError(
                f"Expected covariances within memory_limit={memory_limit:,} bytes but variant='pv' needs {needed:,} "
                f"bytes ({needed / 2**30:.1f} GiB): use variant='dv' or 'bv' (the paper finds no clear difference "
                "between them), or raise memory_limit."
            )

    def empty_moments(self, device: torch.device, samples: float) -> ClassMoments:
        """As in `Variant`."""
        return ClassCovariances(self.num_classes, self.num_classes, device)

    def log_radius(self, moments: ClassMoments, images: Tensor) -> Tensor:
        """As in `Variant`; -inf where the samples span fewer than `axes` dimensions."""
        return _axis_variances(moments, images)[:, : self.axes].log().mean(dim=1) / 2

    def small_sample_bias(self, samples: Tensor) -> Tensor | None:
        """As in `Variant`; that of the first few axes depends on all of them, so it is not known."""
        return log_volume_bias(samples, self.num_classes) if self.axes == self.num_classes else None

    def why_no_radius(self, moments: ClassMoments, images: Tensor) -> str | None:
        """As in `Variant`."""
        spanned = int((_axis_variances(moments, images) > 0).sum(dim=1).max())
        if not 0 < spanned < self.axes:
            return None
        return (
            f"No class spans {self.axes} dimensions of the logits this epoch, {spanned} at most (no more than the "
            f"features that the logits are made of, or the samples): give axes={spanned} or fewer, or variant='dv'"
        )


def _axis_variances(moments: ClassMoments, images: Tensor) -> Tensor:
    assert isinstance(moments, ClassCovariances)
    return moments.axis_variances(images)


def variant_of(
    name: str, num_classes: int, axes: int | None, debias: bool, features: int | None, seed: int, memory_limit: int
) -> Variant:
    """The variant of that name; ValueError for options that it does not have."""
    if axes is not None:
        check_whole("axes", axes, least=1)
    if axes is not None and (name != "pv" or axes > num_classes):
        raise ValueError(f"Expected axes (1 to {num_classes}) with variant='pv' only but got {axes}.")
    if name != "pv":
        return (BV if name == "bv" else Variant)(num_classes, features, seed)
    if debias:
        raise ValueError("Expected debias with variant 'dv' or 'bv' only: pv's axes are biased differently.")
    if features is not None:
        raise ValueError("Expected features with variant 'dv' or 'bv' only: a sample of columns has other axes.")
    check_whole("feature_seed", seed, least=0)
    return PV(num_classes, axes, memory_limit)


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
