"""Class counts and expected draws of each class in an epoch, from the host's data set and sampler."""

import torch
from torch import Tensor
from torch.utils.data import RandomSampler, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

UNIFORM = (RandomSampler, SequentialSampler, DistributedSampler)
UNIFORM_BY_NAME = ("RASampler",)


def class_counts_of(targets: list[int] | Tensor, num_classes: int) -> Tensor:
    """Training images of each class, int64 `[C]`; ValueError if a target is not a whole number in 0..C-1."""
    return torch.bincount(_labels(targets, num_classes), minlength=num_classes)


def _labels(targets: list[int] | Tensor, num_classes: int) -> Tensor:
    """The data set's targets, int64 `[N]`; ValueError if they are not labels."""
    labels = _numbers(targets)
    if labels.ndim != 1:
        raise ValueError(f"Expected the data set's targets to be one label an image but got {list(labels.shape)}.")
    if labels.is_floating_point() and bool((labels != labels.round()).any()):
        raise ValueError("Expected the data set's targets to be whole numbers but got fractions.")
    labels = labels.long()
    if len(labels) == 0:
        raise ValueError("Expected a training set with images but its targets are empty.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected the data set's targets in 0..{num_classes - 1} ({num_classes} classes) but found "
            f"{low if low < 0 else high}."
        )
    return labels


def _numbers(values: object) -> Tensor:
    """A tensor as it is; other numbers as float64 on the CPU, whatever torch's defaults."""
    return values if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64, device="cpu")


def expected_draws(sampler: Sampler[int], targets: list[int] | Tensor, num_classes: int) -> Tensor:
    """Expected draws m_i of each class in an epoch, up to a common factor; ValueError if they are not known."""
    labels = _labels(targets, num_classes)
    weights = getattr(sampler, "weights", None)
    if weights is None:
        # Not isinstance: a subclass may draw differently.
        if type(sampler) not in UNIFORM and type(sampler).__name__ not in UNIFORM_BY_NAME:
            raise ValueError(
                f"Expected a sampler whose draws are known but got {type(sampler).__name__}: give it an attribute "
                "`weights`, one for each training image (all 1 when it draws uniformly)."
            )
        return torch.bincount(labels, minlength=num_classes).double()
    if getattr(sampler, "replacement", True) is not True:
        raise ValueError(
            "Expected a weighted sampler that draws with replacement: without it, what it draws does not follow from "
            "its weights."
        )
    weights = _numbers(weights).detach().cpu().double()
    if weights.shape != labels.shape:
        raise ValueError(
            f"Expected the sampler to hold one weight for each of the {len(labels)} training images but its "
            f"weights have shape {list(weights.shape)}."
        )
    if not 0 < float(weights.sum()) < float("inf") or bool((weights < 0).any()):  # a nan weight makes the sum nan
        raise ValueError("Expected finite sampler weights that are not negative and not all 0.")
    drawn = weights.new_zeros(num_classes).index_add_(0, labels, weights)
    return drawn / drawn.sum() * len(labels)
