"""CIFAR-LT as cached features: one seed's draw of training images, the balanced test set, batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCH = 128
MIXUP_ALPHA = 0.8
"""Of mixup's Beta distribution, as in VL-LTR's second stage."""

LARGEST_CLASS = {"cifar10_lt": 5000, "cifar100_lt": 500}
GROUP_BOUNDS = {"cifar10_lt": (1500, 200), "cifar100_lt": (100, 20)}
"""Many-shot classes have n above or at the first number, few-shot ones n up to the second. CIFAR-100: as in VL-LTR.
CIFAR-10 has hardly a class below 100: its three largest and three smallest classes at imbalance factor 100."""


@dataclass(frozen=True)
class Batch:
    """What a step sees: features `[B, D]`; labels int64 `[B]`, or mixtures, float `[B, C]`, smoothed."""

    features: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Data:
    """One seed's data.

    Attributes:
        features: of the training images, centred and scaled by one number each, float32 `[N, D]`.
        labels: int64 `[N]`.
        test_features, test_labels: as many images in every class.
        sampler: `"uniform"` (every image once an epoch) or `"sqrt"` (N draws, each image's chance ~ 1/sqrt(n_i)).
        groups: bool `[3, C]`: many-, medium- and few-shot classes.
        seed: of the order of the batches.
        smoothing: label smoothing; with mixup contained in the targets.
        mixup: whether batches are mixed with themselves, reversed.
    """

    features: Tensor
    labels: Tensor
    test_features: Tensor
    test_labels: Tensor
    groups: Tensor
    sampler: str
    seed: int
    smoothing: float = 0.0
    mixup: bool = False

    @property
    def class_counts(self) -> Tensor:
        """n_i, int64 `[C]`."""
        return torch.bincount(self.labels, minlength=self.groups.shape[1])

    @property
    def draws(self) -> Tensor:
        """m_i, expected draws in an epoch, float64 `[C]`."""
        shares = self.class_counts.double().sqrt() if self.sampler == "sqrt" else self.class_counts.double()
        return shares * len(self.labels) / shares.sum()

    @property
    def feature_log_radius(self) -> Tensor:
        """Log of the rms over the features of a class's standard deviations, `[C]`; one image: the others' mean."""
        several = [i for i, n in enumerate(self.class_counts.tolist()) if n > 1]
        variances = torch.stack([self.features[self.labels == i].double().var(dim=0).mean() for i in several])
        log_radius = (variances.log() / 2).mean().repeat(len(self.class_counts))
        log_radius[several] = variances.log() / 2
        return log_radius

    def epoch(self, number: int) -> Iterator[Batch]:
        """Full batches of an epoch; the same for every method."""
        generator = torch.Generator().manual_seed(1000 * self.seed + number)
        if self.sampler == "sqrt":
            chances = self.class_counts.double().rsqrt()[self.labels]
            order = torch.multinomial(chances, len(self.labels), replacement=True, generator=generator)
        else:
            order = torch.randperm(len(self.labels), generator=generator)
        mixing = np.random.default_rng([self.seed, number])
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            features, labels = self.features[rows], self.labels[rows]
            yield self._mixed(features, labels, mixing) if self.mixup else Batch(features, labels)

    def _mixed(self, features: Tensor, labels: Tensor, rng: np.random.Generator) -> Batch:
        """timm's mixup: one share for the batch, partners from its other end, labels smoothed."""
        share = float(rng.beta(MIXUP_ALPHA, MIXUP_ALPHA))
        num_classes = self.groups.shape[1]
        hard = torch.nn.functional.one_hot(labels, num_classes).float()
        smooth = hard * (1 - self.smoothing) + self.smoothing / num_classes
        return Batch(features * share + features.flip(0) * (1 - share), smooth * share + smooth.flip(0) * (1 - share))


@dataclass(frozen=True)
class Images:
    """Features `[N, D]` and labels `[N]` of one split of a data set in the cache."""

    features: Tensor
    labels: Tensor

    @classmethod
    def read(cls, cache: Path, dataset: str, split: str) -> Images:
        """What `frozen_tower_features.py` wrote."""
        names = (cache / f"{dataset}_{split}{suffix}" for suffix in (".npy", ".labels.npy"))
        return cls(*(torch.from_numpy(np.load(name)) for name in names))

    def of_class(self, i: int) -> NDArray[np.int64]:
        """The rows of a class."""
        return np.flatnonzero(self.labels.numpy() == i)

    def __getitem__(self, rows: NDArray[np.int64]) -> Images:
        return Images(self.features[rows], self.labels[rows])


def centred(train: Images, test: Images, **others: Any) -> Data:
    """The data of a seed, features centred and scaled by those of the training images."""
    centre, scale = train.features.mean(dim=0), train.features.std()
    features, test_features = ((each.features - centre) / scale for each in (train, test))
    return Data(features, train.labels, test_features, test.labels, **others)


def load(
    cache: Path, dataset: str, imbalance: int, sampler: str, seed: int, *, validation: bool = False, **options: Any
) -> Data:
    """A seed's data: n_i images of each class, drawn from those that the cache holds.

    Args:
        cache: folder that `frozen_tower_features.py` wrote.
        dataset: `"cifar10_lt"` or `"cifar100_lt"`.
        imbalance: factor between the largest and the smallest class, 50 or more.
        sampler: see `Data`.
        seed: of the draw and of the batches.
        validation: test on a fifth of the training images (at least one of a class), which are then not trained on.
        options: `smoothing` and `mixup` of `Data`.
    """
    images, test = Images.read(cache, dataset, "train"), Images.read(cache, dataset, "test")
    sizes = profile(LARGEST_CLASS[dataset], int(images.labels.max()) + 1, imbalance)
    rng = np.random.default_rng([seed, 1])
    drawn = [rng.permutation(images.of_class(i))[:n] for i, n in enumerate(sizes)]
    kept = drawn
    if validation:
        held_out = [max(1, len(rows) // 5) for rows in drawn]
        kept = [rows[number:] if len(rows) > 1 else rows for rows, number in zip(drawn, held_out, strict=True)]
        test = images[np.concatenate([rows[:number] for rows, number in zip(drawn, held_out, strict=True)])]
    shots = groups(torch.tensor(sizes), *GROUP_BOUNDS[dataset])
    return centred(images[np.concatenate(kept)], test, groups=shots, sampler=sampler, seed=seed, **options)


def profile(largest: int, num_classes: int, imbalance: float) -> list[int]:
    """n_i = floor(n_max IF^(-i/(C-1))) (Cui et al., CVPR 2019)."""
    return [int(largest * (1.0 / imbalance) ** (i / (num_classes - 1.0))) for i in range(num_classes)]


def groups(class_counts: Tensor, many: int, few: int) -> Tensor:
    """Which classes are many-, medium- and few-shot, bool `[3, C]`."""
    return torch.stack([class_counts >= many, (class_counts < many) & (class_counts > few), class_counts <= few])
