import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vlltr_plugin.cifar_lt.data import (
    DataError,
    LongTailed,
    from_npz,
    from_torchvision,
    imbalance_of,
    labels_of_file,
    profile,
)

DATA = Path(os.environ.get("VLLTR_DATA", "nowhere"))
CIFAR10 = {
    10: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    50: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    200: [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25],
}
CIFAR100 = {10: 19573, 20: 15907, 50: 12608, 100: 10847, 200: 9502}


def test_profiles_are_the_literatures():
    assert {factor: profile(5000, factor, 10) for factor in CIFAR10} == CIFAR10
    assert {factor: sum(profile(500, factor, 100)) for factor in CIFAR100} == CIFAR100


def test_torchvisions_images_are_cut_to_nested_profiles_with_their_own_labels(tmp_path, monkeypatch):
    from torchvision import datasets

    class Made:
        """40 made-up images a class in place of the archives; the first pixel is the label."""

        def __init__(self, root, train, download):
            assert download
            if root.endswith("missing"):
                raise RuntimeError("Dataset not found or corrupted.")
            rng = np.random.default_rng(train)
            self.targets = rng.permutation(np.repeat(np.arange(10), 40)).tolist()
            self.data = rng.integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
            self.data[:, 0, 0, 0] = self.targets

    monkeypatch.setattr(datasets, "CIFAR10", Made)
    less, more = (from_torchvision("cifar10", imbalance, tmp_path) for imbalance in (2, 8))
    for data, imbalance in ((less, 2), (more, 8)):
        assert data.class_counts.tolist() == profile(40, imbalance, 10)
        for images, labels in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
            assert (images[:, 0, 0, 0] == labels).all()
        assert len(data.x_test) == 400
    assert {image.tobytes() for image in less.x_train} > {image.tobytes() for image in more.x_train}
    wrong = {10: "or a network to download it", 0.5: "1 or more", math.nan: "1 or more", math.inf: "1 or more"}
    for imbalance, words in wrong.items():  # the factor is looked at before anything is read or downloaded
        with pytest.raises(DataError, match=words):
            from_torchvision("cifar10", imbalance, tmp_path / "missing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_test": None}, "x_test"),
        ({"x_train": np.zeros((5, 8, 8), np.uint8)}, "x_train to be uint8"),
        ({"x_train": np.zeros((5, 8, 8, 3), np.float32)}, "x_train to be uint8"),
        ({"y_train": np.zeros(4, np.int64)}, "y_train to be 5 whole numbers"),
        ({"y_train": np.zeros(5, np.float32)}, "y_train to be 5 whole numbers"),
        ({"y_train": np.array([0, 1, 2, -1, 3])}, "labels from 0"),
        ({"y_train": np.array([0, 0, 2, 2, 3])}, "class 1 has none"),
        ({"y_train": np.array([0, 1, 2, 3, 2**45])}, "y_train has the label 35184372088832"),
        ({"y_test": np.array([0, 2**45])}, "y_test has the label 35184372088832"),
        ({"y_test": np.array([0, 0])}, "test images of every class but class 1"),
        ({"x_test": np.zeros((2, 9, 8, 3), np.uint8)}, "one size"),
        ({"y_train": np.array([0, 1, 2, 3, None], dtype=object)}, "is not"),
    ],
)
def test_an_npz_of_another_kind_is_refused(tmp_path, change, words):
    images, path = np.zeros((5, 8, 8, 3), np.uint8), tmp_path / "data.npz"
    arrays = {"x_train": images, "y_train": np.array([0, 1, 2, 3, 0]), "x_test": images[:2], "y_test": np.array([0, 1])}
    arrays |= change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=words):
        from_npz(path)


def test_a_file_that_is_no_npz_or_is_broken_is_refused(digits_npz, tmp_path):
    whole, path = digits_npz.read_bytes(), tmp_path / "data.npz"
    flags, packing = (whole.index(b"PK\x01\x02") + 2 + place for place in (6, 8))  # in the archive's list of files
    broken = [whole[:at] + b"\xff" + whole[at + 1 :] for at in (flags, packing)]
    for content in (None, b"", b"no archive", b"PK\x03\x04 broken", *broken):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=r"Expected an \.npz file"):
            from_npz(path)


def test_an_imbalance_is_the_factor_that_made_the_profile_else_largest_over_smallest():
    for factor in (10, 20, 50, 100, 200):
        for largest, classes in ((5000, 10), (500, 100)):
            assert imbalance_of(profile(largest, factor, classes)) == factor
    assert [imbalance_of(counts) for counts in ([60, 40, 3], [10, 3], [3, 60])] == [20, 3.33, 20]
    counts = profile(500, 30, 100)
    assert (imbalance_of(counts), imbalance_of(counts, 30)) == (31.25, 30)


def test_a_file_is_called_by_its_name_and_contradictions_are_refused(digits, tmp_path):
    path = tmp_path / "cifar10.npz"
    for given in ((None, None), ("cifar10", 20)):
        assert labels_of_file(path, digits, *given) == {"dataset": "cifar10.npz", "imbalance": 20}
    with pytest.raises(DataError, match="10 classes"):
        labels_of_file(path, digits, "cifar100", None)
    with pytest.raises(DataError, match=r"20 \(60 to 3 images a class\), but got 100"):
        labels_of_file(path, digits, None, 100)


@pytest.mark.skipif(not (DATA / "cifar_lt.py").is_file(), reason="VLLTR_DATA names no folder with real images")
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_real_test_sets_are_known_in_any_order(name, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(DATA))
    sys.modules.pop("cifar_lt", None)
    from cifar_lt import load

    (x, y), (xt, yt) = load(f"{name}_lt", "train", 100), load(f"{name}_lt", "test")
    order = np.random.default_rng(0).permutation(len(yt))
    for which in (order, slice(None)):
        data = LongTailed(x, y, xt[which], yt[which])
        assert labels_of_file(tmp_path / "x.npz", data, name, 100) == {"dataset": name, "imbalance": 100}
    xt[0, 0, 0, 0] ^= 1
    assert labels_of_file(tmp_path / "x.npz", LongTailed(x, y, xt, yt), name, 100)["dataset"] == "x.npz"
