"""Streaming class covariances, for the principal axis variant (PV): O(C*D*D)."""

import torch
from torch import Tensor

from vlltr_plugin.core.moments import ClassMoments

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
