"""A few hundred handwritten digits made long-tailed, as an .npz file and as batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.data import LongTailed, from_npz

COUNTS = (60, 40, 30, 20, 15, 12, 9, 6, 4, 3)


@pytest.fixture(scope="session")
def digits_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, labels = load_digits(return_X_y=True)
    images = np.repeat((images.reshape(-1, 8, 8, 1) * 15).astype(np.uint8), 3, axis=3)
    members = [np.flatnonzero(labels == label) for label in range(10)]
    train = np.concatenate([own[:count] for own, count in zip(members, COUNTS, strict=True)])
    test = np.concatenate([own[100:105] for own in members])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x_train=images[train], y_train=labels[train], x_test=images[test], y_test=labels[test])
    return path


@pytest.fixture(scope="session")
def digits(digits_npz: Path) -> LongTailed:
    return from_npz(digits_npz)


@pytest.fixture
def batches(digits: LongTailed) -> Batches:
    return Batches(digits, torch.device("cpu"))
