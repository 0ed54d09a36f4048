"""Streaming first and second moments of each class, in memory that does not grow with the samples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.torch_context import cheap_to_read, unshare

ROWS_AT_ONCE, NUMBERS_AT_ONCE = 16, 2**15
"""Classes moved or read out together, more of them where all have fewer numbers: temporaries stay in the cache (1 MB at
8142 features)."""

FEW_FEATURES = 128
"""Up to that many classes and features sums are float64: averaging log sigma over a few does not even out the rounding
of float32 sums (up to 4.5e-6 of a weight for 1280 samples and 2 features), and the state is small anyway."""

MANY_SAMPLES = 2**16
"""With more of a class sums are float64, too: each square that float32 adds to a large sum loses digits, the small ones
all of them. It costs a log radius 6e-6 here, 2e-4 at 1e6 samples, 8e-3 at 1e7 (pixels; 129 normal logits)."""


class ClassMoments:
    """Sums of `x - pivot` and `(x - pivot)^2` for every class and feature, O(C*D).

    The pivot of a class is its first sample: plain sums of squares lose every digit once
    |mean|/sigma reaches 100, differences from a sample of the same class do not. Float64 samples stay float64 until
    the pivot is off. Sums are float32, three numbers for each class and feature (float64 up to `FEW_FEATURES`, and
    beyond `MANY_SAMPLES`); masses and the read-out are float64. This is the shifted-data algorithm of Chan, Golub and
    LeVeque, "Algorithms for Computing the Sample Variance" (1983), with weights.

    A first sample far outside its class would cost float32 sums the same digits, so the pivots move to the class
    means after 2, 4, 8, ... calls of `add` (`centre`). Not inside `torch.compile`: there, over 100,000 samples, a first
    one 100 standard deviations off costs 0.6 % of sigma, one 300 off the class's volume.

    How ranks merge: masses and sums add once every rank has moved to one common pivot (`repivot`).

    Deviations must lie between 1e-19 and 1e19: float32 squares leave their range beyond (such a class has no
    finite volume then).

    Args:
        num_classes: C.
        dim: D, features of a sample.
        device: where the state lives.
        differences: take the moments of f_i - f_j for samples of class i (D = C), not of f_j. The differences
            are formed of the deviations from the pivot, so that large means cost no digits.
        columns: for differences with a sample of the classes, those classes, int64 `[D - 1]`: the last feature is then
            f_i itself. Default: feature j is f_j.
        samples: that the largest class is expected to have, the same on all ranks.
    """

    ADD_OVER_RANKS = ("mass", "mass_squared", "sum", "second")
    """The tensors that add up over ranks, once all have moved to one pivot; `ranks.merge_moments` reads this."""

    def __init__(
        self,
        num_classes: int,
        dim: int,
        device: torch.device,
        differences: bool = False,
        columns: Tensor | None = None,
        samples: float = 0.0,
    ) -> None:
        self.dtype = self._dtype_for(max(num_classes, dim), samples)
        self.differences = differences
        self.columns = columns
        self.mass = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.mass_squared = torch.zeros_like(self.mass)
        self.pivot = torch.zeros(num_classes, dim, dtype=self.dtype, device=device)
        self.sum = torch.zeros_like(self.pivot)
        self.second = self._zero_second()
        self._calls = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a copy or unpickling."""
        vars(self).update(state)
        unshare(vars(self))

    def to(self, device: torch.device) -> None:
        """Moves the state."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))

    def add(self, rows: Tensor, labels: Tensor, mass: Tensor | None = None) -> None:
        """Adds samples; nothing here waits for a GPU.

        Args:
            rows: finite features, `[B, D]`.
            labels: int64 `[B]`.
            mass: how much of a sample each row is, `[B]`; rows of mass 0 change nothing. One whole sample each by
                default.
        """
        rows = rows if rows.dtype == torch.float64 else rows.to(self.dtype)
        self._find_pivots(rows, labels, mass)
        # Temporaries [B, D] are written over where they can be: at thousands of features, memory is what takes time.
        delta = self.pivot.index_select(0, labels)
        delta = torch.sub(rows, delta, out=delta) if rows.dtype == self.dtype else (rows - delta).to(self.dtype)
        if self.differences:
            torch.sub(self._own(delta, labels), delta, out=delta)
        weighted = delta if mass is None else delta * mass.to(self.dtype)[:, None]
        self.sum.index_add_(0, labels, weighted)
        self._add_second(delta, weighted, labels)
        wide = self.mass.new_ones(len(labels)) if mass is None else mass.double()
        self.mass.index_add_(0, labels, wide)
        self.mass_squared.index_add_(0, labels, wide if mass is None else wide.square())
        if self.dtype == torch.float32 and not torch.compiler.is_compiling():
            self._centre_early()

    def repivot(self, pivot: Tensor) -> None:
        """Moves the sums to another pivot `[C, D]`; classes without mass simply take it."""
        for part in self._parts():
            self._move(part, pivot[part])

    def centre(self) -> None:
        """Moves every pivot to the mean of its class so far."""
        for part in self._parts():
            mass = self.mass[part, None].to(self.dtype)
            mean = torch.where(mass > 0, self.sum[part] / mass, 0.0)
            self._move(part, self.pivot[part] - mean if self.differences else self.pivot[part] + mean)

    def degrees_of_freedom(self, images: Tensor | None = None) -> Tensor:
        """What the sum of squares about the mean is divided by, so that the variance is unbiased.

        With masses w it is the one for reliability weights, W - sum w^2 / W, W = sum w; for whole samples that is
        W - 1. W draws of n < W images show each image floor(W/n) or one more times; copies of an image are one
        sample whose weight is their number c, so that sum w^2 grows by the factor sum c^2 / W.

        Args:
            images: n, how many different samples a class has, `[C]`; by default no sample came twice.

        Returns:
            float64 `[C]`; nan for a class without mass or without images.
        """
        if images is None:
            return self.mass - self.mass_squared / self.mass
        passes = self.mass / images
        whole = passes.floor()
        rest = passes - whole
        copies = whole + rest * (whole + 1) / passes
        return self.mass - self.mass_squared * copies / self.mass

    def mean_log_sigma(self, images: Tensor | None = None) -> Tensor:
        """Mean over the features of log sigma, sigma the unbiased standard deviation (paper, Eq. 3).

        Of differences, the one of a class with itself does not count.

        Args:
            images: as for `degrees_of_freedom`.

        Returns:
            float64 `[C]`; -inf where a feature does not vary, nan where fewer than two samples came.
        """
        means = []
        for part in self._parts():
            total = self.sum[part].double()
            second = self.second[part].double()  # no copy where sums are float64: only read
            scatter = torch.addcmul(second, total, total / self.mass[part, None], value=-1.0)
            log_scatter = scatter.clamp_(min=0.0).log_()
            if self.differences:
                own = self._differences_with_itself(part)
                means.append(log_scatter.masked_fill_(own, 0.0).sum(dim=1) / (~own).sum(dim=1))
            else:
                means.append(log_scatter.mean(dim=1))
        return (torch.cat(means) - self.degrees_of_freedom(images).log()) / 2

    def _centre_early(self) -> None:
        self._calls += 1
        if self._calls > 1 and self._calls.bit_count() == 1:
            self.centre()

    def _move(self, part: slice, pivot: Tensor) -> None:
        shift = self.pivot[part] - pivot
        if self.differences:
            shift = self._own(shift, self._classes(part)) - shift
        mass = self.mass[part, None].to(self.dtype)
        self._shift_second(part, shift, mass)
        self.sum[part] += shift * mass
        self.pivot[part] = pivot

    def _find_pivots(self, rows: Tensor, labels: Tensor, mass: Tensor | None) -> None:
        """Gives classes not seen before their pivots; a GPU is not asked whether there are any."""
        seen = self.mass.index_select(0, labels)
        looking = cheap_to_read(seen)
        if looking and bool(seen.all()):
            return
        new = seen == 0 if mass is None else (seen == 0) & (mass > 0)
        if looking:
            rows, labels, new = rows[new], labels[new], new[new]
        self._set_pivots(rows, labels, new)

    def _set_pivots(self, rows: Tensor, labels: Tensor, new: Tensor) -> None:
        """The first new row of each class becomes its pivot, however often the class comes."""
        batch = len(rows)
        position = torch.arange(batch, device=rows.device).masked_fill(~new, batch)
        first = position.new_full(self.mass.shape, batch).scatter_reduce(0, labels, position, "amin")[labels]
        found = (first < batch)[:, None]
        # Rows of one class all carry the same value, so it does not matter which of them is written last.
        values = torch.where(found, rows[first.clamp(max=max(batch - 1, 0))], self.pivot[labels])
        self.pivot.index_copy_(0, labels, values.to(self.dtype))

    def _own(self, values: Tensor, classes: Tensor) -> Tensor:
        """The feature of each row's own class, `[B, 1]`: a copy, since `values` may be written over from it."""
        return values.gather(1, classes[:, None]) if self.columns is None else values[:, -1:].clone()

    def _differences_with_itself(self, part: slice) -> Tensor:
        """Which features of some classes are no difference of two, bool `[classes, D]`."""
        classes = self._classes(part)[:, None]
        if self.columns is None:
            return classes == torch.arange(self.pivot.shape[1], device=classes.device)
        return torch.cat([classes == self.columns, torch.ones_like(classes, dtype=torch.bool)], dim=1)

    def _classes(self, part: slice) -> Tensor:
        return torch.arange(*part.indices(len(self.mass)), device=self.mass.device)

    def _parts(self) -> Iterator[slice]:
        """Slices of the classes, small enough that a temporary of one costs little."""
        classes, dim = self.pivot.shape
        step = max(ROWS_AT_ONCE, NUMBERS_AT_ONCE // dim)
        for start in range(0, classes, step):
            yield slice(start, start + step)

    @staticmethod
    def _dtype_for(size: int, samples: float) -> torch.dtype:
        return torch.float64 if size <= FEW_FEATURES or samples > MANY_SAMPLES else torch.float32

    def _zero_second(self) -> Tensor:
        return torch.zeros_like(self.pivot)

    def _add_second(self, delta: Tensor, weighted: Tensor, labels: Tensor) -> None:
        """May write over its arguments, which may be one tensor."""
        self.second.index_add_(0, labels, weighted.mul_(delta))

    def _shift_second(self, part: slice, shift: Tensor, mass: Tensor) -> None:
        self.second[part] += shift * (2.0 * self.sum[part] + shift * mass)


BLOCK_BYTES = 2**26


class ClassCovariances(ClassMoments):
    """As `ClassMoments`, with the full matrix of second moments of each class, in float64.

    The last principal axes of a class can be thousands of times shorter than the first; float32 sums would
    drown them.
    """

    @staticmethod
    def bytes_needed(num_classes: int, dim: int) -> int:
        """Bytes of the matrices of second moments, `[C, D, D]`."""
        return num_classes * dim * dim * torch.float64.itemsize

    def axis_variances(self, images: Tensor | None = None) -> Tensor:
        """Variances along the principal axes of each class, the largest first.

        Args:
            images: as for `degrees_of_freedom`.

        Returns:
            float64 `[C, D]`; 0 beyond the dimensions that the samples span, nan where fewer than two samples came.
        """
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

    @staticmethod
    def _dtype_for(size: int, samples: float) -> torch.dtype:
        return torch.float64

    def _zero_second(self) -> Tensor:
        classes, dim = self.pivot.shape
        return self.pivot.new_zeros(classes, dim, dim)

    def _add_second(self, delta: Tensor, weighted: Tensor, labels: Tensor) -> None:
        dim = delta.shape[1]
        rows = max(1, BLOCK_BYTES // (8 * dim * dim))
        for a, b, label in zip(weighted.split(rows), delta.split(rows), labels.split(rows), strict=True):
            self.second.index_add_(0, label, a[:, :, None] * b[:, None, :])

    def _shift_second(self, part: slice, shift: Tensor, mass: Tensor) -> None:
        for second, total, moved, weight in zip(self.second[part], self.sum[part], shift, mass, strict=True):
            cross = torch.outer(moved, total)
            second += cross + cross.T + weight * torch.outer(moved, moved)


def mean_log_axis(variances: Tensor, axes: int) -> Tensor:
    """Mean log standard deviation along the first `axes` principal axes (paper, Eq. 7).

    Args:
        variances: along all axes, the largest first, `[C, D]`.
        axes: how many of them count, 1 to D.

    Returns:
        `[C]`; -inf where the samples span fewer than `axes` dimensions.
    """
    return variances[:, :axes].log().mean(dim=1) / 2
