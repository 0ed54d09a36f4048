"""The expected draws that an evaluated run was trained with."""

import argparse
from typing import Any

from torch import Tensor

from vlltr_plugin.training.draws import class_counts_of


def draws_of_run(
    args: argparse.Namespace, targets: list[int], num_classes: int, reweight: Any = None
) -> tuple[Tensor, str]:
    """Expected draws m_i of each class in an epoch, and where they are known from.

    A re-weighted run keeps them in its checkpoint. Any other run's follow from the arguments by which VL-LTR chooses
    its sampler: with `weight_sample` an image is drawn by 1/n of its class, with `use_sqrt_freq` by 1/sqrt(n), unless
    `repeated_aug` takes its place; else uniformly.
    """
    saved = _saved(reweight, num_classes)
    if saved is not None:
        return saved, "those in the checkpoint"
    counts = class_counts_of(targets, num_classes).double()
    if getattr(args, "weight_sample", False) and not getattr(args, "repeated_aug", False):
        if getattr(args, "use_sqrt_freq", False):
            return counts.sqrt(), "an image drawn by 1/sqrt(n), as the config says"
        return (counts > 0).double(), "an image drawn by 1/n, as the config says"
    return counts, "images drawn uniformly, as the config says"


def _saved(reweight: Any, num_classes: int) -> Tensor | None:
    try:
        draws = next(iter(reweight["weightings"].values()))["draws"]
    except (AttributeError, KeyError, StopIteration, TypeError, IndexError):
        return None
    if not isinstance(draws, Tensor) or draws.shape != (num_classes,) or not bool(draws.isfinite().all()):
        return None
    return None if bool((draws < 0).any()) or not bool((draws > 0).any()) else draws.double().cpu()
