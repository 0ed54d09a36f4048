"""Images of 32 pixels for real checkouts: of CIFAR in the folder that VLLTR_DATA names, else made up."""

import importlib
import os
import sys
from collections.abc import Sequence

import numpy as np


def images(name: str, split: str, counts: Sequence[int], skip: int = 0) -> list[np.ndarray]:
    """So many images of each class, uint8 `[n, 32, 32, 3]`, without the first `skip` of it."""
    if "VLLTR_DATA" in os.environ:
        sys.path.insert(0, os.environ["VLLTR_DATA"])
        pixels, labels = importlib.import_module("cifar_lt").load(name, split)
        sys.path.remove(os.environ["VLLTR_DATA"])
        return [pixels[labels == label][skip : skip + count] for label, count in enumerate(counts)]
    rng = np.random.default_rng(0)
    colours, spreads = rng.integers(40, 216, (len(counts), 1, 1, 1, 3)), rng.uniform(5, 40, len(counts))
    shapes = [(count, 32, 32, 3) for count in counts]
    rng = np.random.default_rng([len(split), skip])
    made = [mean + spread * rng.standard_normal(s) for mean, spread, s in zip(colours, spreads, shapes, strict=True)]
    return [np.clip(pixels, 0, 255).astype(np.uint8) for pixels in made]
