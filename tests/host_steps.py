"""A host's training steps again: naive float64 loops over what its criterion was given."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from oracles import log_radius_of, weights_of
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
    """Class volume's weights (dv, the defaults) after an epoch of these logits, each sample of its heavier label.

    W draws of n < W images show each W // n times or once more: sum w^2 / W of the unbiased variance is that of copies.
    """
    labels = np.array([max(sample, key=lambda part: part[1])[0] for sample in parts])
    radii, seen = [], [int((labels == label).sum()) for label in range(len(counts))]
    for label, (drawn, images) in enumerate(zip(seen, counts, strict=True)):
        copies = [drawn // images + (j < drawn % images) for j in range(images)]
        rows = logits.double().numpy()[labels == label]
        radius = log_radius_of(rows, np.ones(drawn), np.array(copies))
        radii.append(radius if math.isfinite(radius) else math.nan)
    return weights_of(radii, counts, draws, mass=seen).tolist()


def assert_two_epochs_of_losses(
    path: Path,
    logged: Sequence[float],
    counts: Sequence[int],
    *,
    branch: str = "image_text",
    mixed: bool = True,
    weights: Sequence[float] | None = None,
) -> None:
    """A two-branch run under real_host/launch.py trained with the losses of the definition, and logged their means.

    The weights of the second epoch follow from the first one's logits unless they are given.
    """
    calls = [Call(*saved) for saved in torch.load(path, weights_only=True)]
    half, rest = divmod(len(calls), 2)
    first, second = calls[:half], calls[half:]
    assert (half > 0, rest, first[0].targets.is_floating_point()) == (True, 0, mixed)

    names, smoothing, draws = ("visual", "image_text"), 0.1, np.sqrt(counts).tolist()
    logits = {name: torch.cat([call.logits for call in first[i::2]]) for i, name in enumerate(names)}
    logits["sum"] = logits["visual"].double() + logits["image_text"].double()
    parts = [sample for call in first[::2] for sample in parts_of(call.targets, smoothing)]
    feeds = names if branch == "each" else (branch, branch)
    alphas = [weights or expected_weights(logits[feed], parts, counts, draws) for feed in feeds]
    assert all(max(alpha) > 1.5 * min(alpha) for alpha in alphas)

    for steps, class_weights, mean in ((first, [[1.0] * len(counts)] * 2, logged[0]), (second, alphas, logged[1])):
        of_branches = [(call, alpha) for i, alpha in enumerate(class_weights) for call in steps[i::2]]
        found = [call.loss.item() for call, _ in of_branches]
        expected = [
            expected_loss(call.logits, parts_of(call.targets, smoothing), alpha, smoothing).item()
            for call, alpha in of_branches
        ]
        np.testing.assert_allclose(found, expected, rtol=2e-5)
        np.testing.assert_allclose(mean, 2 * np.mean(expected), rtol=1e-5)
