"""A host's training steps again: naive float64 loops over what its criterion was given."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from oracles import weights_of
from torch import Tensor, nn

Parts = list[tuple[int, float]]
"""The labels of one training sample, each with its mass."""


class Call(NamedTuple):
    """One call of the host's criterion: logits `[B, C]`, targets as they came, the scalar that it gave."""

    logits: Tensor
    targets: Tensor
    loss: Tensor


def record_calls(criterion: nn.Module) -> list[Call]:
    """A list that fills with the calls `criterion(samples, outputs, targets)` of training, in their order."""
    calls: list[Call] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], loss: Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            _, outputs, targets = inputs
            calls.append(Call(outputs.detach().clone(), targets.detach().clone(), loss.detach().clone()))

    criterion.register_forward_hook(keep)
    return calls


def parts_of(targets: Tensor, smoothing: float) -> list[Parts]:
    """What each target is mixed of: hard labels by themselves, smoothed mixtures by undoing the smoothing."""
    if not targets.is_floating_point():
        return [[(label, 1.0)] for label in targets.tolist()]
    classes = targets.shape[1]
    parts = []
    for row in targets.double().tolist():
        masses = [(value - smoothing / classes) / (1 - smoothing) for value in row]
        parts.append([(label, mass) for label, mass in enumerate(masses) if mass > 1e-5])
        assert len(parts[-1]) <= 2
        assert abs(sum(mass for _, mass in parts[-1]) - 1) < 1e-4
    return parts


def expected_loss(logits: Tensor, parts: Sequence[Parts], alpha: Sequence[float], smoothing: float) -> Tensor:
    """Mean over the batch of sum_k m_k alpha_k LS_eps(x, k), LS_eps the smoothed cross entropy of the hard label k."""
    losses = []
    for row, labels in zip(logits.double(), parts, strict=True):
        log_p = row - row.logsumexp(dim=0)
        of_sample = torch.zeros((), dtype=torch.double)
        for label, mass in labels:
            smoothed = -(1 - smoothing) * log_p[label] - smoothing * log_p.sum() / len(log_p)
            of_sample = of_sample + mass * alpha[label] * smoothed
        losses.append(of_sample)
    return torch.stack(losses).sum() / len(losses)


def expected_weights(
    logits: Tensor, parts: Sequence[Parts], counts: Sequence[int], draws: Sequence[float]
) -> list[float]:
    """Class volume's weights (dv, the defaults) after an epoch of these logits, each sample of its heavier label."""
    labels = np.array([max(sample, key=lambda part: part[1])[0] for sample in parts])
    rows = logits.double().numpy()
    radii, seen = [], []
    for label in range(len(counts)):
        of_class = rows[labels == label]
        seen.append(len(of_class))
        spread = of_class.std(axis=0, ddof=1) if len(of_class) > 1 else np.zeros(rows.shape[1])
        radii.append(float(np.log(spread).mean()) if (spread > 0).all() else float("nan"))
    return weights_of(radii, counts, draws, mass=seen).tolist()
