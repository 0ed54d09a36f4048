import numpy as np
import pytest

from vlltr_plugin.cifar_lt.data import DATASETS, DataError, from_npz, from_torchvision, profile


@pytest.mark.parametrize(
    ("imbalance", "counts"),
    [
        (10, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (50, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]),
        (100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (200, [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25]),
    ],
)
def test_the_profile_of_cifar10_is_the_literatures(imbalance, counts):
    assert profile(5000, imbalance, 10) == counts


@pytest.mark.parametrize(("imbalance", "total"), [(10, 19573), (20, 15907), (50, 12608), (100, 10847), (200, 9502)])
def test_the_profile_of_cifar100_has_the_literatures_total(imbalance, total):
    assert sum(profile(500, imbalance, 100)) == total


@pytest.mark.parametrize("imbalance", [0.5, 0, -3, float("nan"), float("inf")])
def test_an_imbalance_below_1_is_refused(imbalance, tmp_path):
    with pytest.raises(DataError, match="1 or more"):
        profile(500, imbalance, 10)
    with pytest.raises(DataError, match="1 or more"):  # before anything is read or downloaded
        from_torchvision("cifar10", imbalance, tmp_path / "missing")


@pytest.fixture
def torchvision_with(monkeypatch):
    """torchvision's CIFAR classes with 40 made-up images a class in place of the archives."""
    from vlltr_plugin.compat.runtime import declare_missing_ops

    declare_missing_ops()
    from torchvision import datasets

    class Made:
        def __init__(self, root, train, download):
            assert download
            if root.endswith("missing"):
                raise RuntimeError("Dataset not found or corrupted.")
            rng = np.random.default_rng(train)
            self.targets = rng.permutation(np.repeat(np.arange(10), 40)).tolist()
            self.data = rng.integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
            self.data[:, 0, 0, 0] = self.targets

    monkeypatch.setattr(datasets, "CIFAR10", Made)


@pytest.mark.usefixtures("torchvision_with")
def test_torchvisions_images_are_cut_to_the_profile_with_their_own_labels(tmp_path):
    data = from_torchvision("cifar10", 8, tmp_path)
    assert data.class_counts.tolist() == profile(40, 8, DATASETS["cifar10"])
    assert (data.x_train[:, 0, 0, 0] == data.y_train).all()
    assert (data.x_test[:, 0, 0, 0] == data.y_test).all()
    assert len(data.x_test) == 400


@pytest.mark.usefixtures("torchvision_with")
def test_a_more_imbalanced_set_is_a_subset(tmp_path):
    less, more = (from_torchvision("cifar10", imbalance, tmp_path) for imbalance in (2, 10))
    images = {image.tobytes() for image in less.x_train}
    assert len(images) == len(less.x_train) > len(more.x_train)
    assert all(image.tobytes() in images for image in more.x_train)


@pytest.mark.usefixtures("torchvision_with")
def test_images_that_cannot_be_had_are_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="or a network to download it"):
        from_torchvision("cifar10", 10, tmp_path / "missing")


def test_an_npz_is_used_as_it_is(digits_npz, digits):
    with np.load(digits_npz) as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            np.testing.assert_array_equal(getattr(digits, name), file[name])


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
    arrays = {
        "x_train": np.zeros((5, 8, 8, 3), np.uint8),
        "y_train": np.array([0, 1, 2, 3, 0]),
        "x_test": np.zeros((2, 8, 8, 3), np.uint8),
        "y_test": np.array([0, 1]),
        **change,
    }
    path = tmp_path / "data.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=words):
        from_npz(path)


def test_an_npz_with_a_wrong_byte_is_refused(digits_npz, tmp_path):
    whole = digits_npz.read_bytes()
    path = tmp_path / "data.npz"
    for place in (6, 8):  # flags and the way of packing, in the archive's list of files
        at = whole.index(b"PK\x01\x02") + 2 + place
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        with pytest.raises(DataError, match=r"Expected an \.npz file"):
            from_npz(path)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    for content in (b"", b"no archive", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"Expected an \.npz file"):
            from_npz(path)
    with pytest.raises(DataError, match=r"Expected an \.npz file"):
        from_npz(tmp_path / "missing.npz")
