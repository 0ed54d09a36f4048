"""Long-tailed CIFAR-10 and CIFAR-100 from torchvision, or the images of an .npz file, and their digests."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.runs.epoch_files import BROKEN

DATASETS = {"cifar10": 10, "cifar100": 100}
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
FACTORS = (200, 100, 50, 20, 10)
"""Imbalance factors of the literature; their profiles are named by them even where rounding changes the ratio."""

LARGEST = {"cifar10": 5000, "cifar100": 500}  # training images of CIFAR's classes

TEST_SETS = {
    "ce4775a95237188f8c1aedb1e4b0eafb2d035ce044f0697c6ae769638cc626e5": "cifar10",
    "9441afb8a325bd66ff6bdf272a279a5b80611c688d9bf929da058b154807d930": "cifar100",
}
"""Digests of CIFAR's 10,000 test images with their labels, sorted."""


class DataError(ValueError):
    """Raised if images are missing or invalid."""


@dataclass(frozen=True)
class LongTailed:
    """A long-tailed training set and its balanced test set: RGB images, uint8 `[N, H, W, 3]`, and int64 labels."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]

    @property
    def num_classes(self) -> int:
        """C."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """n_i, training images of each class, `[C]`."""
        return np.bincount(self.y_train, minlength=self.num_classes)


def profile(largest: int, imbalance: float, num_classes: int) -> list[int]:
    """The exponential profile n_i = floor(n_max IF^(-i/(C-1))) (Cui et al., CVPR 2019; Cao et al., NeurIPS 2019)."""
    if not 1 <= imbalance < math.inf:
        raise DataError(f"Expected an imbalance factor of 1 or more but got {imbalance:g}.")
    counts, last = [], num_classes - 1
    for i in range(num_classes):
        guess: int = round(largest / imbalance ** (i / last))
        # Exact powers, since floats can give 15.999... for a whole number such as 16.
        counts.append(guess - (guess**last * Fraction(imbalance) ** i > largest**last))
    return counts


def from_torchvision(dataset: str, imbalance: float, folder: Path) -> LongTailed:
    """CIFAR from torchvision's classes, cut to the profile; downloaded into `folder` if it is missing.

    The images of a class are a fixed, nested draw: a more imbalanced set is a subset of a less imbalanced one.
    """
    profile(1, imbalance, DATASETS[dataset])  # checks the factor before anything is read or downloaded
    from vlltr_plugin.compat.runtime import declare_missing_ops

    declare_missing_ops()
    from torchvision import datasets

    kind: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    try:
        train, test = (kind(str(folder), train=split, download=True) for split in (True, False))
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Expected {dataset} in {folder}, or a network to download it, but got: {error}. Put the archive there, or "
            "give --npz FILE."
        ) from error
    x, y = train.data, np.asarray(train.targets, dtype=np.int64)
    counts = profile(int(np.bincount(y).max()), imbalance, DATASETS[dataset])
    rng = np.random.default_rng(0)
    kept = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:n] for label, n in enumerate(counts)])
    return LongTailed(x[kept], y[kept], test.data, np.asarray(test.targets, dtype=np.int64))


def from_npz(path: Path) -> LongTailed:
    """The arrays `x_train`, `y_train`, `x_test`, `y_test` of a file, as they are; nothing in it is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in ARRAYS]
    except (*BROKEN, OSError) as error:
        raise DataError(f"Expected an .npz file with {', '.join(ARRAYS)} but {path} is not: {error}") from error
    data = LongTailed(*arrays)
    for x, y, split in ((data.x_train, data.y_train, "train"), (data.x_test, data.y_test, "test")):
        if x.ndim != 4 or x.shape[3] != 3 or x.dtype != np.uint8:
            raise DataError(f"Expected x_{split} to be uint8 [N, H, W, 3] but got {x.dtype} {list(x.shape)}.")
        if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer) or len(y) == 0:
            raise DataError(f"Expected y_{split} to be {len(x)} whole numbers but got {y.dtype} {list(y.shape)}.")
        if y.min() < 0:
            raise DataError(f"Expected labels from 0 in y_{split} but got {y.min()}.")
        if y.max() >= len(data.y_train):  # before anything of that many classes is made
            raise DataError(
                f"Expected training images of every class but y_{split} has the label {y.max()}, and there are "
                f"{len(data.y_train)} training images."
            )
    if data.x_train.shape[1:] != data.x_test.shape[1:]:
        raise DataError("Expected training and test images of one size but they differ.")
    for y, split in ((data.y_train, "training"), (data.y_test, "test")):
        number = np.bincount(y, minlength=data.num_classes)
        if (number == 0).any():
            raise DataError(f"Expected {split} images of every class but class {number.argmin()} has none.")
    return LongTailed(data.x_train, data.y_train.astype(np.int64), data.x_test, data.y_test.astype(np.int64))


def digest(data: LongTailed) -> str:
    """First 16 digits of the SHA-256 of all images and labels, in their order, which decides what a seed draws."""
    found = hashlib.sha256()
    for name in ARRAYS:
        array = np.ascontiguousarray(getattr(data, name))
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def imbalance_of(counts: Sequence[int], given: float | None = None) -> float:
    """The factor (`given` first) whose profile has these class counts, else largest over smallest, to two digits."""
    counts = list(counts)
    for factor in (given, *FACTORS):
        if factor is not None and len(counts) > 1 and counts == profile(max(counts), factor, len(counts)):
            return factor
    ratio = round(max(counts) / min(counts), 2)
    return int(ratio) if ratio == int(ratio) else ratio


def labels_of_file(path: Path, data: LongTailed, dataset: str | None, imbalance: float | None) -> dict[str, Any]:
    """`dataset` and `imbalance` of an .npz file for the results; the name is CIFAR's where the test set is CIFAR's."""
    if dataset is not None and DATASETS[dataset] != data.num_classes:
        raise DataError(
            f"Expected --dataset {dataset} to have the {data.num_classes} classes of {path}, but it has "
            f"{DATASETS[dataset]}: leave --dataset out; it is read from the file."
        )
    counts = data.class_counts.tolist()
    found = imbalance_of(counts, imbalance)
    if imbalance is not None and found != imbalance:
        raise DataError(
            f"Expected --imbalance to be that of {path}, {found:g} ({max(counts)} to {min(counts)} images a class), "
            f"but got {imbalance:g}: leave --imbalance out; it is read from the file."
        )
    images = [
        hashlib.sha256(int(label).to_bytes(8, "little") + image.tobytes()).digest()
        for image, label in zip(data.x_test, data.y_test, strict=True)
    ]
    known = TEST_SETS.get(hashlib.sha256(b"".join(sorted(images))).hexdigest())
    return {"dataset": known or (f"{path.name}.npz" if path.name in DATASETS else path.name), "imbalance": found}
