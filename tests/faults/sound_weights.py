"""Weightings for the tests of bad numbers, and what must hold of their weights after every epoch."""

import warnings
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin import ClassVolume, Weighting, build_weighting
from vlltr_plugin.core.normalization import expected_alpha

VOLUMES = ("dv", "bv", "pv")
FREQUENCIES = ("none", "inverse", "inverse_sqrt", "effective_number")
SMOOTHING = 0.1


def made(kind: str, counts: Any, draws: Any = None, **options: Any) -> Weighting:
    """A weighting of that kind, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind in VOLUMES:
            return ClassVolume(counts, draws, variant=kind, **options)
        return build_weighting(kind, counts, draws, **options)


def ended(weighting: Weighting) -> Tensor:
    """The weights after an epoch, once they are proven sound: finite, positive, of mean 1, fit to be saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighting.end_epoch()
    weights = weighting.weights
    assert bool(weights.isfinite().all())
    assert bool((weights > 0).all())
    assert expected_alpha(weights, weighting.draws) == pytest.approx(1, abs=1e-5)
    weighting.check_state(weighting.state_dict())
    return weights.clone()


def soft(labels: Tensor, classes: int, smoothing: float = SMOOTHING, share: float = 0.7) -> Tensor:
    """Mixtures of each label and its partner in the flipped batch, smoothed."""
    hard = F.one_hot(labels, classes).float()
    return (1 - smoothing) * (share * hard + (1 - share) * hard.flip(0)) + smoothing / classes
