"""Logits of a model with two outputs, how they are collected, and their numbers in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from vlltr_plugin.report.tradeoff.curve import log_prior
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector

COUNTS = np.array([150, 101, 100, 99, 21, 20, 19, 5, 0])  # on both sides of every threshold, and none at all
DRAWS = np.sqrt(COUNTS)
CLASSES = len(COUNTS)
SHARE = 0.7
TAUS = (-0.5, 0.0, 0.3, 1.0, 2.5)
BOUNDS = {
    "upstream": {"many": (100, 10**9), "medium": (21, 99), "few": (1, 20), "10-shot": (1, 10), "5-shot": (1, 5)},
    "others": {"many": (101, 10**9), "medium": (20, 100), "few": (1, 19)},
}
Outputs = tuple[torch.Tensor, ...]


def two_outputs() -> Outputs:
    """Logits of both outputs that lean to large classes, and labels: unequally many, of all classes but one.

    No rule gets class 2 right.
    """
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0] * 40 + [1] * 12 + [2] * 9 + [3] * 20 + [4] * 11 + [6] * 17 + [7] * 8 + [8] * 5)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    hints = 1.6 * torch.nn.functional.one_hot(labels, CLASSES) + torch.from_numpy(np.log(COUNTS + 2.0)).float()
    first, second = (hints + scale * torch.randn(len(labels), CLASSES, generator=generator) for scale in (1, 2))
    for logits in (first, second):
        logits[labels == 2, 2] -= 40
    return first, second, labels


def collect(
    outputs: Outputs, taus: Sequence[float] = TAUS, prior: np.ndarray = DRAWS, batch: int = 50
) -> PredictionCollector:
    """Predictions of one or two outputs, the last tensor the labels."""
    *branches, labels = outputs
    names = ("visual", "image_text") if len(branches) > 1 else ()
    collector = PredictionCollector(CLASSES, taus, log_prior(prior), names, SHARE)
    for start in range(0, len(labels), batch):
        parts = [branch[start : start + batch] for branch in branches]
        collector.add(parts if len(parts) > 1 else parts[0], labels[start : start + batch])
    return collector


def naive_probabilities(
    branches: Sequence[torch.Tensor], rule: str, tau: float, prior: Sequence[float] = tuple(DRAWS)
) -> list[list[float]]:
    """Each output adjusted, then the rule; a class that is never drawn as the rarest that is."""
    least = min(draw for draw in prior if draw > 0)
    shift = [tau * math.log(max(draw, least)) for draw in prior]
    rows = []
    for image in zip(*(branch.double().tolist() for branch in branches), strict=True):
        moved = [[logit - own for logit, own in zip(logits, shift, strict=True)] for logits in image]
        if rule == "mixture":
            first, second = map(_softmax, moved)
            rows.append([SHARE * a + (1 - SHARE) * b for a, b in zip(first, second, strict=True)])
        elif rule == "image_text":
            rows.append(_softmax(moved[1]))
        else:
            rows.append(_softmax([sum(parts) for parts in zip(*moved[: 1 if rule == "visual" else 2], strict=True)]))
    return rows


def _softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def naive_numbers(
    rows: list[list[float]], labels: list[int], bounds: dict[str, tuple[int, int]], counts: Sequence[int] = COUNTS
) -> dict[str, float | None]:
    """The numbers of probabilities, by loops over images; `bounds` are the training images of each group's classes."""
    hits = [row.index(max(row)) == label for row, label in zip(rows, labels, strict=True)]
    found = {"top1": percent(hits)}
    for group, (least, most) in bounds.items():
        found[group] = percent([hit for hit, label in zip(hits, labels, strict=True) if least <= counts[label] <= most])
    of_class = [percent([h for h, label in zip(hits, labels, strict=True) if label == c]) for c in sorted(set(labels))]
    found["macro_top1"] = sum(of_class) / len(of_class)
    found["harmonic_top1"] = 0.0 if 0 in of_class else len(of_class) / sum(1 / value for value in of_class)
    gap = 0.0
    for low in range(15):
        inside = [
            i for i, row in enumerate(rows) if low / 15 <= max(row) < (low + 1) / 15 or (low == 14 and max(row) == 1)
        ]
        gap += abs(sum(hits[i] - max(rows[i]) for i in inside))
    found["ece"] = 100 * gap / len(labels)
    return found


def percent(hits: Sequence[bool]) -> float | None:
    """None without any."""
    return 100 * sum(hits) / len(hits) if hits else None


OUTPUTS = two_outputs()
