"""Mixup and CutMix of a whole batch with its own reverse."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(labels: Tensor, num_classes: int, on_value: float = 1.0, off_value: float = 0.0) -> Tensor:
    """Return [B, C] rows of `off_value` with `on_value` at each label."""
    return F.one_hot(labels.long(), num_classes).float() * (on_value - off_value) + off_value


def mixup_target(labels: Tensor, num_classes: int, lam: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Return soft targets [B, C]: `lam` of each label, the rest of its partner's, both smoothed."""
    off = smoothing / num_classes
    own = one_hot(labels, num_classes, on_value=1.0 - smoothing + off, off_value=off)
    return lam * own + (1.0 - lam) * own.flip(0)


class Mixup:
    """Mix a batch by pixel values (mixup) or by rectangles (CutMix); numpy's global generator decides.

    Args:
        mixup_alpha: Both parameters of the beta distribution of mixup's lambda; 0 turns mixup off.
        cutmix_alpha: The same for CutMix.
        prob: Probability that a batch is mixed at all.
        switch_prob: Probability of CutMix when both are on.
        mode: "batch": one lambda for the batch.
        label_smoothing: Smoothing of the targets.
        num_classes: Width of the targets.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
    ) -> None:
        if mode != "batch":
            raise ValueError(f"Expected mode 'batch', got {mode!r}")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.mix_prob = prob
        self.switch_prob = switch_prob
        self.mode = mode
        self.label_smoothing = label_smoothing
        self.num_classes = num_classes

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed images [B, ...] and soft targets [B, C]."""
        lam, cut = self._draw()
        if cut and lam < 1.0:
            x, lam = _paste_rectangle(x, lam)
        elif lam < 1.0:
            x = x * lam + x.flip(0) * (1.0 - lam)
        return x, mixup_target(target, self.num_classes, lam, self.label_smoothing)

    def _draw(self) -> tuple[float, bool]:
        if np.random.rand() >= self.mix_prob:  # noqa: NPY002
            return 1.0, False
        cut = self.cutmix_alpha > 0
        if cut and self.mixup_alpha > 0:
            cut = bool(np.random.rand() < self.switch_prob)  # noqa: NPY002
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        return float(np.random.beta(alpha, alpha)), cut  # noqa: NPY002


def _paste_rectangle(x: Tensor, lam: float) -> tuple[Tensor, float]:
    """Paste a rectangle of about 1 - `lam` of the area from the partner; return the share really kept."""
    height, width = x.shape[-2:]
    side = np.sqrt(1.0 - lam)
    y, left = np.random.randint(height), np.random.randint(width)  # noqa: NPY002
    rows = slice(*np.clip([y - int(height * side) // 2, y + int(height * side) // 2], 0, height))
    columns = slice(*np.clip([left - int(width * side) // 2, left + int(width * side) // 2], 0, width))
    mixed = torch.clone(x)
    mixed[..., rows, columns] = x.flip(0)[..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1.0 - float(area) / (height * width)
