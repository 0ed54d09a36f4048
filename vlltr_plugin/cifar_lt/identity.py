"""What tells one set of images from another: a digest of all of it, its class sizes, and whether it is CIFAR."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlltr_plugin.cifar_lt.data import ARRAYS, DATASETS, DataError, LongTailed, profile

FACTORS = (200, 100, 50, 20, 10)
"""Imbalance factors of the literature, whose name a profile of theirs bears also where rounding gives another ratio."""

LARGEST = {"cifar10": 5000, "cifar100": 500}
"""Training images of CIFAR's classes."""

TEST_SETS = {
    "cifar10": "ce4775a95237188f8c1aedb1e4b0eafb2d035ce044f0697c6ae769638cc626e5",
    "cifar100": "9441afb8a325bd66ff6bdf272a279a5b80611c688d9bf929da058b154807d930",
}
"""Digests of CIFAR's 10,000 test images with their labels, in any order; see `test_set`."""


def digest(data: LongTailed) -> str:
    """SHA-256 of images and labels, training and test, in their order, which decides what a seed draws: 16 digits."""
    found = hashlib.sha256()
    for name in ARRAYS:
        array = np.ascontiguousarray(getattr(data, name))
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def test_set(data: LongTailed) -> str | None:
    """Which CIFAR's test set this is, in any order of the images: `"cifar10"`, `"cifar100"`, or None for neither."""
    each = [
        hashlib.sha256(int(label).to_bytes(8, "little") + image.tobytes()).digest()
        for image, label in zip(data.x_test, data.y_test, strict=True)
    ]
    found = hashlib.sha256(b"".join(sorted(each))).hexdigest()
    return next((name for name, known in TEST_SETS.items() if known == found), None)


def imbalance_of(counts: Sequence[int], told: float | None = None) -> float:
    """The imbalance factor of class counts.

    Args:
        counts: training images of each class, `[C]`.
        told: a factor to prefer where the counts are its profile.

    Returns:
        The factor whose profile the counts are, else largest over smallest, to two digits after the point.
    """
    counts = list(counts)
    for factor in (told, *FACTORS):
        if factor is not None and len(counts) > 1 and counts == profile(max(counts), factor, len(counts)):
            return factor
    ratio = round(max(counts) / min(counts), 2)
    return int(ratio) if ratio == int(ratio) else ratio


def labels_of_file(path: Path, data: LongTailed, dataset: str | None, imbalance: float | None) -> dict[str, Any]:
    """What the results call the images of an .npz file: the file says it, not the user.

    Args:
        path: the file.
        data: its arrays.
        dataset: what the user says that it is, if anything.
        imbalance: the factor that the user says it has, if any.

    Returns:
        `dataset`, CIFAR's name only where the test set is CIFAR's, else the file's; and `imbalance`.

    Raises:
        DataError: when the user says something else than the file.
    """
    if dataset is not None and DATASETS[dataset] != data.num_classes:
        raise DataError(
            f"Expected --dataset {dataset} to have the {data.num_classes} classes of {path}, but it has "
            f"{DATASETS[dataset]}: leave --dataset out, the file says what it is."
        )
    counts = data.class_counts.tolist()
    found = imbalance_of(counts, imbalance)
    if imbalance is not None and found != imbalance:
        raise DataError(
            f"Expected --imbalance to be that of {path}, {found:g} ({max(counts)} to {min(counts)} images a class), "
            f"but got {imbalance:g}: leave --imbalance out, the file says what it is."
        )
    name = f"{path.name}.npz" if path.name in DATASETS else path.name
    return {"dataset": test_set(data) or name, "imbalance": found}


def is_published_set(run: dict[str, Any]) -> bool:
    """Whether a line of results is of a training set such as the paper's; a line that does not say is believed."""
    counts = run.get("class_counts")
    if counts is None:
        return run["dataset"] in LARGEST
    if run["dataset"] not in LARGEST or len(counts) != DATASETS[run["dataset"]]:
        return False
    return bool(counts == profile(LARGEST[run["dataset"]], run["imbalance"], len(counts)))
