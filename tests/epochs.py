"""Batches and epochs of training a criterion, for the tests of its losses, statistics and warnings."""

import contextlib
import warnings
from functools import partial

import torch
import torch.nn.functional as F

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    LabelLosses,
    LogitAdjustedLoss,
    ReweightedLoss,
    Uniform,
)

COUNTS = [60, 30, 12]
TOTAL = sum(COUNTS)
CRITERIA = {"re-weighted": ReweightedLoss, "adjusted": LogitAdjustedLoss}
WEIGHTINGS = {"dv": ClassVolume, "inverse": InverseFrequency, "none": Uniform}


def per_sample(logits, labels):
    """A callable base loss."""
    return F.cross_entropy(logits, labels, reduction="none")


class Brier(LabelLosses):
    """|softmax(z) - e_k|^2, a base loss of a user's own."""

    def __call__(self, logits):
        p = logits.softmax(dim=1)
        return 1 - 2 * p + p.square().sum(dim=1, keepdim=True)


def normal(*shape, seed=0, **options):
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


def mixture(labels, classes, smoothing=0.1, share=0.7, dtype=torch.float32):
    """Each sample mixed with the one at the other end of the batch, as batch-mode mixup does, and smoothed."""
    hard = F.one_hot(labels, classes).to(dtype)
    return (1 - smoothing) * (share * hard + (1 - share) * hard.flip(0)) + smoothing / classes


def end_epochs(*ended):
    for criterion in ended:
        criterion.end_epoch()


def wide(counts, draws=None, **options):
    """So many classes that sums are float32."""
    return ClassVolume([*counts, *[1] * 200], draws and [*draws, *[1e-3] * 200], **options)


EVERY_WEIGHTING = WEIGHTINGS | {
    "bv": partial(ClassVolume, variant="bv"),
    "pv": partial(ClassVolume, variant="pv"),
    "mass": partial(ClassVolume, assign="mass"),
    "wide": wide,
    "effective number": EffectiveNumber,
}


def batches(seed, counts=COUNTS, size=20):
    """An epoch over all samples, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    rows = torch.randn(len(labels), len(counts), generator=generator) * (1.0 + labels[:, None])
    yield from zip(rows.split(size), labels.split(size), strict=True)


def train(criterion, epoch=0, kind="hard", counts=COUNTS):
    for rows, labels in batches(epoch, counts):
        targets = mixture(labels, len(counts)) if kind == "mixed" else labels
        criterion(rows.clone().requires_grad_(), targets).backward()


def numbers_of_a_run(criterion, soft, device="cpu", epochs=3):
    """Losses, gradients and weights; one row of the last epoch is not finite."""
    generator = torch.Generator().manual_seed(0)
    classes, numbers = criterion.weighting.num_classes, []
    labels = torch.arange(60) % 3
    targets = F.one_hot(labels, classes).float() * 0.9 + 0.1 / classes if soft else labels
    for epoch in range(epochs):
        for _ in range(2):
            logits = torch.randn(60, classes, generator=generator, dtype=torch.float32)
            logits[0, 0] = -torch.inf if epoch == epochs - 1 else 0.0
            logits = logits.to(device).requires_grad_()
            loss = criterion(logits, targets.to(device))
            loss.backward()
            numbers += [loss.detach(), logits.grad]
        criterion.end_epoch()
        numbers.append(criterion.weighting.weights.clone())
    return numbers


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


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
