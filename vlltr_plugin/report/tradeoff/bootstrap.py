"""Test images drawn again within their classes: how far other test images could have moved an accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
CHUNK = 2**22
"""Weights drawn together: 16 MiB of float32."""


def image_weights(labels: NDArray[np.int64], resamples: int = RESAMPLES) -> Iterator[NDArray[np.float32]]:
    """How often each image is drawn in each resample, `[b, N]` at a time, `resamples` rows in all.

    Each class draws as many images as it has, with replacement; the same weights at every call with the same labels.

    Args:
        labels: `[N]`.
        resamples: number of resamples.
    """
    generator = np.random.default_rng(SEED)
    order = np.argsort(labels, kind="stable")
    _, first, size = np.unique(labels[order], return_index=True, return_counts=True)
    first, size = np.repeat(first, size), np.repeat(size, size)  # of each image's own class, in that order
    number = len(labels)
    rows = max(1, CHUNK // number)
    for start in range(0, resamples, rows):
        here = min(rows, resamples - start)
        drawn = order[first + (generator.random((here, number)) * size).astype(np.int64)]
        drawn += number * np.arange(here)[:, None]
        yield np.bincount(drawn.ravel(), minlength=here * number).reshape(here, number).astype(np.float32)


def resampled_sums(
    numbers: NDArray[np.float32], labels: NDArray[np.int64], resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Sums over the images of every resample.

    Args:
        numbers: K of each image, `[K, N]`.
        labels: `[N]`.
        resamples: B.

    Returns:
        `[B, K]`; exact where the numbers are whole and the sums below 2^24.
    """
    parts = [(weights @ numbers.T).astype(np.float64) for weights in image_weights(labels, resamples)]
    return np.concatenate(parts) if parts else np.empty((0, len(numbers)))
