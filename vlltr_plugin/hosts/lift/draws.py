"""Expected draws of each class under LIFT's own samplers (`utils/samplers.py`)."""

from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.training.draws import class_counts_of, expected_draws

CAPPED = {"DownSampler": "cls_num_list", "ReSampler": "sampled_cls_num_list"}
"""Samplers that draw a class as often as it has images but n_max times at most, and where they keep that number.
DownSampler takes that many images in an epoch; ReSampler draws as many in all as there are images, in these shares."""

BALANCED = "ClassAwareSampler"
"""Goes through the classes in turn: each is drawn equally often."""


def draws_of(loader: Any, labels: Any, num_classes: int) -> Tensor:
    """Expected draws m_i of each class in an epoch, up to a common factor.

    Raises:
        ValueError: for a sampler whose draws are not known.
    """
    sampler = loader.sampler
    if type(loader.batch_sampler) is not torch.utils.data.BatchSampler:
        raise ValueError(
            "Expected a training loader that draws image by image but it has a batch_sampler of its own "
            f"({type(loader.batch_sampler).__name__}), whose draws are not known: use a sampler."
        )
    counts = class_counts_of(labels, num_classes).double()
    name = type(sampler).__name__
    if name == BALANCED:
        return (counts > 0).double()
    if name not in CAPPED:
        return expected_draws(sampler, labels, num_classes)
    capped = torch.as_tensor(getattr(sampler, CAPPED[name], []), dtype=torch.float64)
    if capped.shape != counts.shape or bool((capped > counts).any()):
        raise ValueError(
            f"Expected {name} to hold its draws of each of the {num_classes} classes as `{CAPPED[name]}`, as LIFT's "
            "does, but it does not: its draws are not known. Use plain shuffling."
        )
    return capped
