"""Radii that a weighting takes from an earlier one with fewer classes."""

import math

import pytest
import torch
from oracles import observed

from vlltr_plugin import ClassVolume, InverseFrequency


@pytest.mark.parametrize("classes", [None, [4, 0, 2]])
@pytest.mark.parametrize("substituted", [False, True])
def test_known_classes_keep_their_radii_and_the_others_take_their_mean(classes, substituted):
    old = observed(ClassVolume([50, 40, 30]))
    old.substituted = torch.tensor([False, False, substituted])
    counts = [90, 70, 50, 30, 10]
    new = ClassVolume(counts, start_epoch=0)
    new.carry_over(old, classes)
    places = classes or [0, 1, 2]
    known = {place: float(old.log_radius64[i]) for i, place in enumerate(places) if not old.substituted[i]}
    mean = sum(known.values()) / len(known)
    radius = [math.exp(known.get(i, mean)) for i in range(5)]
    alpha = [r / n * sum(counts) / sum(radius) for r, n in zip(radius, counts, strict=True)]
    torch.testing.assert_close(new.weights.double(), torch.tensor(alpha).double(), rtol=1e-5, atol=0)
    assert new.substituted.tolist() == [i not in known for i in range(5)]


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 1], [0, 1, 5], [-1, 0, 1]], ids=str)
def test_classes_that_do_not_fit_are_refused(classes):
    new = ClassVolume([9] * 5)
    with pytest.raises(ValueError, match=r"Expected one class of 0\.\.4 for each of 3"):
        new.carry_over(observed(ClassVolume([50, 40, 30])), classes)
    assert not new.has_radii


@pytest.mark.parametrize("make", [ClassVolume, InverseFrequency])
def test_a_weighting_without_measured_radii_is_refused(make):
    with pytest.raises(ValueError, match="Expected radii to carry over"):
        ClassVolume([9] * 5).carry_over(make([50, 40, 30]))
