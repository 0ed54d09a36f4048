"""Draws of classes and images, on a small set in which every image tells its class and its number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_tower_data import SUPERCLASS, Data, load_broad, load_random

PER_CLASS = 20


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name, classes in (("cifar10_lt", 10), ("cifar100_lt", 100)):
        labels = np.repeat(np.arange(classes), PER_CLASS)
        numbers = np.tile(np.arange(PER_CLASS), classes)
        np.save(tmp_path / f"{name}_test.npy", np.stack([labels, numbers], axis=1).astype(np.float32))
        np.save(tmp_path / f"{name}_test.labels.npy", labels)
    return tmp_path


def images_of(data: Data, number: int) -> list[list[set[tuple[int, int]]]]:
    """Of each class of a draw the training and the test images, as (class, number) of the set; none comes twice."""
    everything = torch.cat([data.features, data.test_features])
    ranks = torch.stack([column.unique(return_inverse=True)[1] for column in everything.T], dim=1)  # undoes the scaling
    assert ranks[:, 0].max() == number - 1
    assert len(ranks.unique(dim=0)) == len(ranks)
    both = list(
        zip(ranks.split([len(data.labels), len(data.test_labels)]), (data.labels, data.test_labels), strict=True)
    )
    return [[{tuple(row) for row in rows[y == i].tolist()} for rows, y in both] for i in range(data.groups.shape[1])]


def test_classes_and_images_are_random_and_disjoint(cache: Path) -> None:
    drawn = [load_random(cache, "cifar10_lt", 12, 2, seed) for seed in range(20)]
    for data in drawn:
        train, test = zip(*images_of(data, 10), strict=True)
        assert sorted(map(len, train), reverse=True) == [12, 9, 8, 6, 5, 4, 3, 2, 2, 2]
        assert {len(each) for each in test} == {8}
        for i in range(10):
            assert {label for label, _ in train[i] | test[i]} == {i}
        many, medium, few = (data.class_counts[group] for group in data.groups)
        assert (len(many), len(medium), len(few)) == (3, 4, 3)
        assert many.min() >= medium.max() >= medium.min() >= few.max()
    assert len({int(data.class_counts.argmax()) for data in drawn}) > 4
    assert len({frozenset(images_of(data, 10)[0][1]) for data in drawn}) > 4


@pytest.mark.parametrize(("smallest", "similar"), [(10, False), (5, False), (10, True)])
def test_broad_classes_take_a_fifth_from_each_of_five(cache: Path, smallest: int, similar: bool) -> None:
    data = load_broad(cache, 10, smallest, 1, similar=similar)
    train, test = zip(*images_of(data, 100), strict=True)
    members = [{label for label, _ in each} for each in test]
    assert [len(each) for each in members] == [5] * 10 + [1] * 50
    assert len(set.union(*members)) == 100
    assert all(len({SUPERCLASS[int(label)] for label in each}) == 1 for each in members) == similar
    for i in range(60):
        per_label = [sum(label == name for label, _ in train[i]) for name in members[i]]
        assert max(per_label) - min(per_label) <= 1
        assert sum(per_label) == len(train[i])
        assert len(test[i]) == 10 * len(members[i])
    assert max(map(len, train)) == 10
    assert min(map(len, train)) == smallest
    assert data.groups[0].tolist() == [True] * 10 + [False] * 50


def test_the_radius_of_the_features_is_their_rms_deviation() -> None:
    features = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])
    data = Data(features, labels, features, labels, torch.eye(3).bool(), "uniform", 0)
    expected = []
    for i in (0, 1):
        rows = features[labels == i].double().numpy()
        total = sum((rows[:, k] - rows[:, k].mean()) @ (rows[:, k] - rows[:, k].mean()) / 3 for k in range(3))
        expected.append(np.log(np.sqrt(total / 3)))
    assert data.feature_log_radius.tolist() == pytest.approx([*expected, np.mean(expected)])
