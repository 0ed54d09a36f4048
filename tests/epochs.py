"""Epochs of training a criterion, for the tests of its statistics and warnings."""

import contextlib
import warnings

import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, Uniform

COUNTS = [60, 30, 12]
TOTAL = sum(COUNTS)
CRITERIA = {"re-weighted": ReweightedLoss, "adjusted": LogitAdjustedLoss}
WEIGHTINGS = {"dv": ClassVolume, "inverse": InverseFrequency, "none": Uniform}


def batches(seed, counts=COUNTS, size=20):
    """An epoch over all samples, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    rows = torch.randn(len(labels), len(counts), generator=generator) * (1.0 + labels[:, None])
    yield from zip(rows.split(size), labels.split(size), strict=True)


def train(criterion, epoch=0, kind="hard", counts=COUNTS):
    for rows, labels in batches(epoch, counts):
        targets = labels
        if kind == "mixed":
            hard = F.one_hot(labels, len(counts)).float()
            targets = 0.9 * (0.7 * hard + 0.3 * hard.flip(0)) + 0.1 / len(counts)
        criterion(rows.clone().requires_grad_(), targets).backward()


@contextlib.contextmanager
def quiet():
    """Warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def warnings_of(call, *args):
    """What a call warns of, all of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*args)
    return [str(warning.message) for warning in caught]
