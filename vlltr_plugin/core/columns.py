"""A sample of the logits' columns, for statistics of thousands of classes."""

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import check_whole


def sampled_columns(num_classes: int, features: int | None, seed: int, least: int = 1) -> Tensor | None:
    """A fixed random sample of the columns, drawn without replacement.

    The mean of log sigma over them estimates the mean over all without bias, whatever the columns hold: its standard
    error is sqrt((1 - F/C) / F) times the standard deviation of log sigma over the columns of a class.

    Args:
        num_classes: C.
        features: F, how many; None for all.
        seed: of the draw: the same columns in every process.
        least: smallest F.

    Returns:
        Columns in ascending order, int64 `[F]` on the CPU; None for all.

    Raises:
        ValueError: for a number of features that there is not, or a seed that is none.
    """
    check_whole("feature_seed", seed, least=0)
    if features is None:
        return None
    check_whole("features", features, least=least)
    if features > num_classes:
        raise ValueError(f"Expected features to be at most the {num_classes} classes but got {features}.")
    if features == num_classes:
        return None
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randperm(num_classes, generator=generator, device="cpu")[:features].sort().values
