"""CIFAR-LT as cached features: one seed's draw of training and test images, and its batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlltr_plugin.cifar_lt.data import profile

BATCH = 128
MIXUP_ALPHA = 0.8
"""Of mixup's Beta distribution, as in VL-LTR's second stage."""

LARGEST_CLASS = {"cifar10_lt": 5000, "cifar100_lt": 500}
GROUP_BOUNDS = {"cifar10_lt": (1500, 200), "cifar100_lt": (100, 20)}
"""Many-shot classes have n above or at the first number, few-shot ones n up to the second. CIFAR-100: as in VL-LTR.
CIFAR-10 has hardly a class below 100: its three largest and three smallest classes at imbalance factor 100."""

EXTREME = 0.35
"""Where classes are random: share of the classes that are many-shot, and that are few-shot."""

BROAD, FINE_IN_BROAD = 10, 5
"""Broad classes of a draw, and the classes of CIFAR-100 that each of them joins."""

_NUMBERS = (
    "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 "
    "15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 "
    "19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
)
SUPERCLASS = [int(number) for number in _NUMBERS.split()]
"""Of each of CIFAR-100's classes; five share one."""

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """What a step sees: features `[B, D]`; labels int64 `[B]`, or mixtures, float `[B, C]`, smoothed."""

    features: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Data:
    """One seed's data; the test set has as many images in every class."""

    features: Tensor  # float32 [N, D], centred and scaled by one number each
    labels: Tensor  # int64 [N]
    test_features: Tensor
    test_labels: Tensor
    groups: Tensor  # bool [3, C]: many-, medium- and few-shot classes
    sampler: str  # "uniform" (every image once an epoch) or "sqrt" (N draws, each image's chance ~ 1/sqrt(n_i))
    seed: int  # of the order of the batches
    smoothing: float = 0.0  # with mixup contained in the targets
    mixup: bool = False  # batches are mixed with themselves, reversed

    @property
    def class_counts(self) -> Tensor:
        return torch.bincount(self.labels, minlength=self.groups.shape[1])

    @property
    def draws(self) -> Tensor:
        """m_i, expected draws in an epoch, float64 `[C]`."""
        shares = self.class_counts.double() ** (0.5 if self.sampler == "sqrt" else 1)
        return shares * len(self.labels) / shares.sum()

    @property
    def feature_log_radius(self) -> Tensor:
        """Log of the rms over the features of a class's standard deviations, `[C]`; one image: the others' mean."""
        several = self.class_counts > 1
        rows = (self.features[self.labels == i].double() for i in several.nonzero())
        known = torch.stack([each.var(dim=0).mean() for each in rows]).log() / 2
        return known.mean().repeat(len(several)).masked_scatter(several, known)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Full batches of an epoch; the same for every method."""
        generator, images = torch.Generator().manual_seed(1000 * self.seed + number), len(self.labels)
        if self.sampler == "sqrt":
            chances = self.class_counts.double().rsqrt()[self.labels]
            order = torch.multinomial(chances, images, replacement=True, generator=generator)
        else:
            order = torch.randperm(images, generator=generator)
        mixing = np.random.default_rng([self.seed, number])
        for rows in order[: images // BATCH * BATCH].split(BATCH):
            features, labels = self.features[rows], self.labels[rows]
            yield self._mixed(features, labels, mixing) if self.mixup else Batch(features, labels)

    def _mixed(self, features: Tensor, labels: Tensor, rng: np.random.Generator) -> Batch:
        """timm's mixup: one share for the batch, partners from its other end, labels smoothed."""
        share = float(rng.beta(MIXUP_ALPHA, MIXUP_ALPHA))
        num_classes = self.groups.shape[1]
        hard = torch.nn.functional.one_hot(labels, num_classes).float()
        smooth = hard * (1 - self.smoothing) + self.smoothing / num_classes
        return Batch(features * share + features.flip(0) * (1 - share), smooth * share + smooth.flip(0) * (1 - share))


class Images:
    """Features `[N, D]` and labels of one split in the cache, as `frozen_tower_features.py` wrote them."""

    def __init__(self, cache: Path, dataset: str, split: str) -> None:
        self.features = torch.from_numpy(np.load(cache / f"{dataset}_{split}.npy"))
        self.labels: Rows = np.load(cache / f"{dataset}_{split}.labels.npy")
        self.num_classes = int(self.labels.max()) + 1

    def shuffled(self, label: int, rng: np.random.Generator) -> Rows:
        return rng.permutation(np.flatnonzero(self.labels == label))

    def taken(self, rows: list[Rows]) -> tuple[Tensor, Tensor]:
        """Features and labels of the rows of each class."""
        labels = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(each) for each in rows]))
        return self.features[np.concatenate(rows)], labels


def centred(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], **others: Any) -> Data:
    """The data of a seed, features centred and scaled by those of the training images."""
    centre, scale = train[0].mean(dim=0), train[0].std()
    features, test_features = ((part[0] - centre) / scale for part in (train, test))
    return Data(features, train[1], test_features, test[1], **others)


def load(
    cache: Path, dataset: str, imbalance: int, sampler: str, seed: int, *, validation: bool = False, **options: Any
) -> Data:
    """n_i images of each class, drawn from those that the cache holds (imbalance factor 50 or more).

    With `validation` the test is on a fifth of the training images (at least one of a class), which then do not train.
    `options` are `smoothing` and `mixup` of `Data`.
    """
    images, test_images = Images(cache, dataset, "train"), Images(cache, dataset, "test")
    sizes, rng = profile(LARGEST_CLASS[dataset], imbalance, images.num_classes), np.random.default_rng([seed, 1])
    drawn = [images.shuffled(i, rng)[:n] for i, n in enumerate(sizes)]
    test = test_images.features, torch.from_numpy(test_images.labels)
    if validation:
        test = images.taken([rows[: max(1, len(rows) // 5)] for rows in drawn])
        drawn = [rows[max(1, len(rows) // 5) :] if len(rows) > 1 else rows for rows in drawn]
    many, few = GROUP_BOUNDS[dataset]
    counts = torch.tensor(sizes)
    groups = torch.stack([counts >= many, (counts < many) & (counts > few), counts <= few])
    return centred(images.taken(drawn), test, groups=groups, sampler=sampler, seed=seed, **options)


def load_random(cache: Path, dataset: str, largest: int, smallest: int, seed: int) -> Data:
    """A draw of which classes are rare, of the training and of the test images.

    All images come from the complete, balanced test set, so that any class can have any size (here and in
    `load_broad`): the first `largest` of a random order may train, the others test. many and few: the 35 % of the
    classes with the most and with the fewest images.
    """
    images, rng = Images(cache, dataset, "test"), np.random.default_rng([seed, 2])
    sizes = rng.permutation(profile(largest, largest / smallest, images.num_classes))
    parts = _split(images, [[i] for i in range(images.num_classes)], sizes, largest, rng)
    rank = torch.from_numpy(np.argsort(np.argsort(-sizes, kind="stable")))
    extreme = int(EXTREME * len(sizes))
    many, few = rank < extreme, rank >= len(sizes) - extreme
    return centred(*parts, groups=torch.stack([many, ~many & ~few, few]), sampler="uniform", seed=seed)


def load_broad(cache: Path, largest: int, smallest: int, seed: int, *, similar: bool = False) -> Data:
    """Classes of unequal breadth: ten that each join five classes of CIFAR-100, and the other fifty as they are.

    The five are random ones or, with `similar`, those of a superclass. A broad class takes a fifth of its training
    images from each of them, and all their test images. The sizes have nothing to do with the breadth. `groups` are the
    broad, all and the narrow classes, for many, medium and few.
    """
    rng = np.random.default_rng([seed, 3])
    if similar:
        fine = [i for superclass in rng.permutation(20) for i in np.flatnonzero(np.equal(SUPERCLASS, superclass))]
    else:
        fine = rng.permutation(100).tolist()
    joined = BROAD * FINE_IN_BROAD
    members = [fine[i : i + FINE_IN_BROAD] for i in range(0, joined, FINE_IN_BROAD)] + [[i] for i in fine[joined:]]
    sizes = rng.permutation(profile(largest, largest / smallest, len(members)))
    parts = _split(Images(cache, "cifar100_lt", "test"), members, sizes, largest, rng)
    broad = torch.arange(len(members)) < BROAD
    return centred(*parts, groups=torch.stack([broad, broad | True, ~broad]), sampler="uniform", seed=seed)


def _split(
    images: Images, members: list[list[int]], sizes: Rows, largest: int, rng: np.random.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test images of classes that join `members`; `sizes` are their n_i."""
    train, test = [], []
    for names, n in zip(members, sizes, strict=True):
        order = np.stack([images.shuffled(name, rng) for name in names])
        train.append(order[:, :largest].T.flatten()[:n])  # one of each label in turn
        test.append(order[:, largest:].flatten())
    return images.taken(train), images.taken(test)
