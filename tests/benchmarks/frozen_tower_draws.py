"""Draws in which more than the training images is random: which classes are rare, the test images, their breadth.

All images come from the complete, balanced test set, so that any class can have any size: the first `largest` of a
random order may train, the others test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from frozen_tower_data import Data, Images, centred, profile
from numpy.typing import NDArray
from torch import Tensor

BROAD, FINE_IN_BROAD = 10, 5
"""Broad classes of a draw, and the classes of CIFAR-100 that each of them joins."""

EXTREME = 0.35
"""Share of the classes that are many-shot, and that are few-shot."""


def load_random(cache: Path, dataset: str, largest: int, smallest: int, seed: int) -> Data:
    """A draw of which classes are rare, of the training and of the test images.

    many and few: the 35 % of the classes with the most and with the fewest images (CIFAR-10: three classes each).

    Args:
        cache: folder that `frozen_tower_features.py` wrote.
        dataset: `"cifar10_lt"` or `"cifar100_lt"`.
        largest, smallest: n_i of the largest and the smallest class.
        seed: of the draw and of the batches.
    """
    images = Images.read(cache, dataset, "test")
    num_classes = int(images.labels.max()) + 1
    rng = np.random.default_rng([seed, 2])
    sizes = rng.permutation(profile(largest, num_classes, largest / smallest))
    train, test = _split(images, [[i] for i in range(num_classes)], sizes, largest, rng)
    return centred(train, test, groups=_shots(sizes), sampler="uniform", seed=seed)


def load_broad(cache: Path, largest: int, smallest: int, seed: int) -> Data:
    """Classes of unequal breadth: ten that each join five random classes of CIFAR-100, and the other fifty as they are.

    A broad class takes a fifth of its training images from each of its five, and all their test images. The sizes have
    nothing to do with the breadth. `groups` are the broad, all and the narrow classes, for many, medium and few.

    Args:
        cache: folder that `frozen_tower_features.py` wrote.
        largest, smallest: n_i of the largest and the smallest class; may be equal.
        seed: of the draw and of the batches.
    """
    rng = np.random.default_rng([seed, 3])
    fine = rng.permutation(100).tolist()
    joined = BROAD * FINE_IN_BROAD
    members = [fine[i : i + FINE_IN_BROAD] for i in range(0, joined, FINE_IN_BROAD)] + [[i] for i in fine[joined:]]
    sizes = rng.permutation(profile(largest, len(members), largest / smallest))
    train, test = _split(Images.read(cache, "cifar100_lt", "test"), members, sizes, largest, rng)
    broad = torch.arange(len(members)) < BROAD
    return centred(train, test, groups=torch.stack([broad, broad | True, ~broad]), sampler="uniform", seed=seed)


def _split(
    images: Images, members: list[list[int]], sizes: NDArray[np.int64], largest: int, rng: np.random.Generator
) -> tuple[Images, Images]:
    """Training and test images of classes that join others.

    Args:
        images: the balanced set.
        members: of each new class, the labels that it joins.
        sizes: n_i, training images of each new class.
        largest: images of each label that may train.
        rng: of the draw.
    """
    train, test = [], []
    for names, n in zip(members, sizes, strict=True):
        order = np.stack([rng.permutation(images.of_class(name)) for name in names])
        train.append(order[:, :largest].T.flatten()[:n])  # one of each label in turn
        test.append(order[:, largest:].flatten())
    return _joined(images, train), _joined(images, test)


def _joined(images: Images, rows: list[NDArray[np.int64]]) -> Images:
    labels = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(each) for each in rows]))
    return Images(images.features[np.concatenate(rows)], labels)


def _shots(sizes: NDArray[np.int64]) -> Tensor:
    """Many-, medium- and few-shot classes by rank, bool `[3, C]`."""
    rank = torch.from_numpy(np.argsort(np.argsort(-sizes, kind="stable")))
    extreme = int(EXTREME * len(sizes))
    many, few = rank < extreme, rank >= len(sizes) - extreme
    return torch.stack([many, ~many & ~few, few])
