"""What tells one set of images from another."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vlltr_plugin.cifar_lt.data import DataError, LongTailed, profile
from vlltr_plugin.cifar_lt.identity import digest, imbalance_of, labels_of_file
from vlltr_plugin.cifar_lt.identity import test_set as which_test_set

DATA = Path(os.environ.get("VLLTR_DATA", "nowhere"))


@pytest.mark.parametrize(("largest", "classes"), [(5000, 10), (500, 100)])
@pytest.mark.parametrize("factor", [10, 20, 50, 100, 200])
def test_a_profile_has_the_factor_that_made_it_also_where_it_is_rounded(largest, classes, factor):
    assert imbalance_of(profile(largest, factor, classes)) == factor


def test_other_counts_have_their_largest_over_their_smallest():
    assert imbalance_of([60, 40, 3]) == 20
    assert imbalance_of([10, 3]) == 3.33
    assert imbalance_of([3, 60]) == 20
    counts = profile(500, 30, 100)
    assert (imbalance_of(counts), imbalance_of(counts, 30)) == (31.25, 30)


def test_the_digest_knows_every_pixel_label_and_place(digits):
    def changed(name, change):
        arrays = {key: array.copy() for key, array in vars(digits).items()}
        change(arrays[name])
        return digest(LongTailed(**arrays))

    def one_up(array):
        array.flat[-1] += 1

    def swapped(array):
        array[[0, -1]] = array[[-1, 0]]

    found = {changed(name, change) for name in vars(digits) for change in (one_up, swapped)}
    assert len(found) == 8
    assert digest(digits) not in found
    assert changed("x_train", lambda array: None) == digest(digits)


def test_a_file_is_called_by_its_name_and_contradictions_are_refused(digits, tmp_path):
    path = tmp_path / "cifar10.npz"
    assert labels_of_file(path, digits, None, None) == {"dataset": "cifar10.npz", "imbalance": 20}
    assert labels_of_file(path, digits, "cifar10", 20) == {"dataset": "cifar10.npz", "imbalance": 20}
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
    data = LongTailed(x, y, xt[order], yt[order])
    assert labels_of_file(tmp_path / "x.npz", data, name, 100) == {"dataset": name, "imbalance": 100}
    assert which_test_set(LongTailed(x, y, xt, yt)) == name
    xt[0, 0, 0, 0] ^= 1
    assert which_test_set(LongTailed(x, y, xt, yt)) is None
