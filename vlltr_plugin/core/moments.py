"""Streaming first and second moments of each class, with a Python class for each variant, and radii from them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.torch_context import cheap_to_read, unshare

# Number of classes processed together, more if each has fewer numbers, so that temporaries fit the cache (1 MB at 8142
# features).
ROWS_AT_ONCE, NUMBERS_AT_ONCE = 16, 2**15

# Up to that many classes and features sums are float64: averaging log sigma over a few does not even out the rounding
# of float32 sums (up to 4.5e-6 of a weight for 1280 samples and 2 features), and the state is small anyway.
FEW_FEATURES = 128

# With more samples of a class sums are float64, too: each square that float32 adds to a large sum loses digits. It
# costs a log radius 6e-6 here, 2e-4 at 1e6 samples, 8e-3 at 1e7 (pixels; 129 normal logits).
MANY_SAMPLES = 2**16

BLOCK_BYTES = 2**26  # largest temporary of `ClassCovariances.add`


class ClassMoments:
    """Variant dv: sums of `x - pivot` and `(x - pivot)^2` for every class and feature, O(C*D).

    The pivot of a class is its first sample: plain sums of squares lose every digit once |mean|/sigma reaches 100,
    differences from a sample of the same class do not. Float64 samples stay float64 until the pivot is subtracted. Sums
    are float32, three numbers for each class and feature (float64 up to `FEW_FEATURES`, and beyond `MANY_SAMPLES` of a
    class, the same on all ranks); masses and results are float64. This is the shifted-data algorithm of Chan, Golub and
    LeVeque, "Algorithms for Computing the Sample Variance" (1983), with weights.

    If the first sample is far outside its class, float32 sums lose the same precision, so the pivots move to the class
    means after 2, 4, 8, ... calls of `add`. They do not move inside `torch.compile`: over 100,000 samples, a first
    sample 100 standard deviations off costs 0.6 % of sigma there, and one 300 off costs the class its volume.

    Ranks merge by adding masses and sums once every rank has moved to one common pivot (`repivot`).

    Deviations must lie between 1e-19 and 1e19: float32 squares leave their range beyond (such a class has no
    finite volume then).
    """

    # The tensors that add up over ranks, once all have moved to one pivot; `ranks.merge_moments` reads this.
    ADD_OVER_RANKS = ("mass", "mass_squared", "sum", "second")
    always_float64 = False
    mean_sign = 1.0  # -1 where a feature falls as its logit rises

    def __init__(
        self, num_classes: int, dim: int, device: torch.device, samples: float = 0.0, columns: Tensor | None = None
    ) -> None:
        wide = self.always_float64 or max(num_classes, dim) <= FEW_FEATURES or samples > MANY_SAMPLES
        self.dtype = torch.float64 if wide else torch.float32
        self.mass = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.mass_squared = torch.zeros_like(self.mass)
        self.pivot = torch.zeros(num_classes, dim, dtype=self.dtype, device=device)
        self.sum = torch.zeros_like(self.pivot)
        self.second = torch.zeros_like(self.pivot)
        self.columns = columns  # indices of the logits that are the features, int64; None for all
        self._calls, self._all_seen = 0, False

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        unshare(vars(self))

    def to(self, device: torch.device) -> None:
        """Moves the state."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))

    def rows_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits `[B, D]` that are needed of samples that count for the classes `labels`, `[B, K]`."""
        return logits if self.columns is None else logits.index_select(1, self.columns)

    def rows_for(self, rows: Tensor, k: int) -> Tensor:
        """Selects from the result of `rows_of` the features of the samples for their k-th class, for `add`."""
        return rows

    def add(self, rows: Tensor, labels: Tensor, mass: Tensor | None = None) -> None:
        """Adds finite features `[B, D]` of classes `[B]`, each by its mass (1 by default); never waits for a GPU."""
        rows = rows if rows.dtype == torch.float64 else rows.to(self.dtype)
        if not self._all_seen:
            self._find_pivots(rows, labels, mass)
        # Temporaries [B, D] are overwritten if possible: with thousands of features, memory access takes the time.
        delta = self.pivot.index_select(0, labels)
        delta = torch.sub(rows, delta, out=delta) if rows.dtype == self.dtype else (rows - delta).to(self.dtype)
        delta = self._features_of(delta, labels)
        weighted = delta if mass is None else delta * mass.to(self.dtype)[:, None]
        self.sum.index_add_(0, labels, weighted)
        self._add_second(delta, weighted, labels)
        wide = self.mass.new_ones(len(labels)) if mass is None else mass.double()
        self.mass.index_add_(0, labels, wide)
        self.mass_squared.index_add_(0, labels, wide if mass is None else wide.square())
        if self.dtype == torch.float32 and not torch.compiler.is_compiling():
            self._calls += 1
            if self._calls > 1 and self._calls.bit_count() == 1:
                self.repivot()
                self._all_seen = cheap_to_read(self.mass) and bool(self.mass.all())

    def repivot(self, pivot: Tensor | None = None) -> None:
        """Moves the sums to another pivot `[C, D]`; default: the mean of each class so far."""
        for part in self._parts():
            mass = self.mass[part, None].to(self.dtype)
            if pivot is None:
                to = self.pivot[part] + self.mean_sign * torch.where(mass > 0, self.sum[part] / mass, 0.0)
            else:
                to = pivot[part]
            shift = self._features_of(self.pivot[part] - to, self._classes(part))
            self._shift_second(part, shift, mass)
            self.sum[part] += shift * mass
            self.pivot[part] = to

    def degrees_of_freedom(self, images: Tensor | None = None) -> Tensor:
        """Divisor of the sum of squares for an unbiased variance, float64 `[C]`; nan without mass or images.

        With masses w it is the one for reliability weights, W - sum w^2 / W, W = sum w; for whole samples that is
        W - 1. W draws of n < W images (`images`) show each image floor(W/n) or one more times; copies of an image are
        one sample whose weight is their number c, so that sum w^2 grows by the factor sum c^2 / W.
        """
        if images is None:
            return self.mass - self.mass_squared / self.mass
        passes = self.mass / images
        whole = passes.floor()
        rest = passes - whole
        copies = whole + rest * (whole + 1) / passes
        return self.mass - self.mass_squared * copies / self.mass

    def why_no_radius(self, images: Tensor) -> str | None:
        """The reason why samples that differ in every logit give no radius; None if unknown."""
        return None

    def log_radius(self, images: Tensor | None = None) -> Tensor:
        """Log r, the mean of log sigma over the features, float64 `[C]`; -inf if one is 0, nan below two samples."""
        means = []
        for part in self._parts():
            total = self.sum[part].double()
            second = self.second[part].double()  # no copy if sums are float64, since they are only read
            scatter = torch.addcmul(second, total, total / self.mass[part, None], value=-1.0)
            means.append(self._mean(scatter.clamp_(min=0.0).log_(), part))
        return (torch.cat(means) - self.degrees_of_freedom(images).log()) / 2

    def _find_pivots(self, rows: Tensor, labels: Tensor, mass: Tensor | None) -> None:
        """Sets the first row of each new class as its pivot, without waiting for a GPU."""
        seen = self.mass.index_select(0, labels)
        cheap = cheap_to_read(seen)
        if cheap and bool(seen.all()):
            return
        new = seen == 0 if mass is None else (seen == 0) & (mass > 0)
        if cheap:
            rows, labels, new = rows[new], labels[new], new[new]
        batch = len(rows)
        position = torch.arange(batch, device=rows.device).masked_fill(~new, batch)
        first = position.new_full(self.mass.shape, batch).scatter_reduce(0, labels, position, "amin")[labels]
        found = (first < batch)[:, None]
        # All rows of a class hold the same value, so it does not matter which one is written last.
        values = torch.where(found, rows[first.clamp(max=max(batch - 1, 0))], self.pivot[labels])
        self.pivot.index_copy_(0, labels, values.to(self.dtype))

    def _classes(self, part: slice) -> Tensor:
        return torch.arange(*part.indices(len(self.mass)), device=self.mass.device)

    def _parts(self) -> Iterator[slice]:
        """Slices of the classes, small enough that temporaries are cheap."""
        classes, dim = self.pivot.shape
        step = max(ROWS_AT_ONCE, NUMBERS_AT_ONCE // dim)
        for start in range(0, classes, step):
            yield slice(start, start + step)

    def _features_of(self, values: Tensor, classes: Tensor) -> Tensor:
        """The features to sum, from the deviations `[B, D]` from the pivots of `classes`; may overwrite them."""
        return values

    def _mean(self, values: Tensor, part: slice) -> Tensor:
        """Mean over the features that count for the given classes; may overwrite `values`."""
        return values.mean(dim=1)

    def _add_second(self, delta: Tensor, weighted: Tensor, labels: Tensor) -> None:
        """May overwrite its arguments, which may be the same tensor."""
        self.second.index_add_(0, labels, weighted.mul_(delta))

    def _shift_second(self, part: slice, shift: Tensor, mass: Tensor) -> None:
        self.second[part] += shift * (2.0 * self.sum[part] + shift * mass)


class ClassDifferences(ClassMoments):
    """Variant bv: the differences f_i - f_j for samples of class i (Eq. 8 and 9); the one with itself does not count.

    Differences are formed of the deviations from the pivot, so that large means cost no digits. Feature j is f_j; with
    `columns`, int64 `[D - 1]`, the features are f_j of those classes and, as the last one, f_i itself.
    """

    mean_sign = -1.0

    def __init__(
        self, num_classes: int, device: torch.device, samples: float = 0.0, columns: Tensor | None = None
    ) -> None:
        super().__init__(num_classes, num_classes if columns is None else len(columns) + 1, device, samples, columns)

    def rows_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As in `ClassMoments`; behind a sample of the logits those of the K own classes."""
        rows = super().rows_of(logits, labels)
        if self.columns is None:
            return rows
        return torch.cat([rows, logits.gather(1, labels.clamp(0, len(self.mass) - 1))], dim=1)

    def rows_for(self, rows: Tensor, k: int) -> Tensor:
        """As in `ClassMoments`."""
        dim = self.pivot.shape[1]
        if rows.shape[1] == dim:
            return rows
        return torch.cat([rows[:, : dim - 1], rows[:, dim - 1 + k, None]], dim=1)

    def _features_of(self, values: Tensor, classes: Tensor) -> Tensor:
        # A copy of the own feature, since `values` is overwritten.
        own = values.gather(1, classes[:, None]) if self.columns is None else values[:, -1:].clone()
        return torch.sub(own, values, out=values)

    def _mean(self, values: Tensor, part: slice) -> Tensor:
        classes = self._classes(part)[:, None]
        if self.columns is None:
            itself = classes == torch.arange(self.pivot.shape[1], device=classes.device)
        else:
            itself = torch.cat([classes == self.columns, torch.ones_like(classes, dtype=torch.bool)], dim=1)
        return values.masked_fill_(itself, 0.0).sum(dim=1) / (~itself).sum(dim=1)


class ClassCovariances(ClassMoments):
    """Variant pv: the full matrix of second moments of each class, in float64, O(C*D*D) (Eq. 7)."""

    always_float64 = True  # the last axes can be thousands of times shorter than the first: float32 would lose them

    def __init__(self, num_classes: int, dim: int, device: torch.device, axes: int | None = None) -> None:
        super().__init__(num_classes, dim, device)
        self.second = self.pivot.new_zeros(num_classes, dim, dim)
        self.axes = axes or dim

    def log_radius(self, images: Tensor | None = None) -> Tensor:
        """As in `ClassMoments`; -inf where the samples span fewer than `axes` dimensions."""
        return self.axis_variances(images)[:, : self.axes].log().mean(dim=1) / 2

    def why_no_radius(self, images: Tensor) -> str | None:
        """As in `ClassMoments`."""
        spanned = int((self.axis_variances(images) > 0).sum(dim=1).max())
        if not 0 < spanned < self.axes:
            return None
        return (
            f"No class spans {self.axes} dimensions of the logits this epoch, {spanned} at most (no more than the "
            f"features that the logits are made of, or the samples): give axes={spanned} or fewer, or variant='dv'"
        )

    def axis_variances(self, images: Tensor | None = None) -> Tensor:
        """Variances along the principal axes, the largest first, `[C, D]`; 0 beyond the span, nan below two samples."""
        freedom = self.degrees_of_freedom(images)
        dim = self.pivot.shape[1]
        noise = 1e3 * dim * torch.finfo(self.dtype).eps
        variances = torch.full_like(self.pivot, torch.nan)
        for i in range(len(self.mass)):
            if freedom[i] > 0:
                scatter = self.second[i] - torch.outer(self.sum[i], self.sum[i]) / self.mass[i]
                variance = torch.linalg.eigvalsh(scatter / freedom[i]).flip(0)
                variances[i] = torch.where(variance > noise * variance[0], variance, 0.0)
        return variances

    def _add_second(self, delta: Tensor, weighted: Tensor, labels: Tensor) -> None:
        dim = delta.shape[1]
        rows = max(1, BLOCK_BYTES // (8 * dim * dim))
        for a, b, label in zip(weighted.split(rows), delta.split(rows), labels.split(rows), strict=True):
            self.second.index_add_(0, label, a[:, :, None] * b[:, None, :])

    def _shift_second(self, part: slice, shift: Tensor, mass: Tensor) -> None:
        for second, total, moved, weight in zip(self.second[part], self.sum[part], shift, mass, strict=True):
            cross = torch.outer(moved, total)
            second += cross + cross.T + weight * torch.outer(moved, moved)


def log_sigma_bias(samples: Tensor) -> Tensor:
    """Bias of log sigma of n > 1 normal samples: how far it is too low on average.

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
