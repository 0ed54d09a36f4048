"""Accuracy by group, ce's trade-off curve, and where a method lies against it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TAUS = [round(0.1 * step, 1) for step in range(41)]
"""Of the post-hoc adjustment logits - tau log n (Menon et al., ICLR 2021, Eq. 9) that draws the curve."""


class Point(NamedTuple):
    """Mean class accuracy in percent: of all classes, and of the many-, medium- and few-shot ones."""

    all: float
    many: float
    medium: float
    few: float


class Gap(NamedTuple):
    """A method minus ce's curve at equal many-shot accuracy, in points."""

    all: float
    few: float


def point(logits: Tensor, labels: Tensor, groups: Tensor) -> Point:
    """Accuracy of logits `[M, C]`; `groups` is bool `[3, C]`."""
    return _point(logits.argmax(dim=1), labels, groups)


def _point(predicted: Tensor, labels: Tensor, groups: Tensor) -> Point:
    num_classes = groups.shape[1]
    right = torch.bincount(labels[predicted == labels], minlength=num_classes).double()
    of_class = 100 * right / torch.bincount(labels, minlength=num_classes)
    found = [of_class[group] for group in (torch.ones_like(groups[0]), *groups)]
    return Point(*(round(float(part.mean()), 3) for part in found))


def curve(logits: Tensor, labels: Tensor, groups: Tensor, class_counts: Tensor) -> list[Point]:
    """Accuracy of ce's logits `[M, C]` after subtracting tau log n, for every tau of `TAUS`."""
    log_counts = class_counts.double().log().float()
    return [point(logits - tau * log_counts, labels, groups) for tau in TAUS]


def gap(method: Point, baseline: list[Point]) -> Gap:
    """Where a method lies against the curve, nan for a many-shot accuracy that the curve does not reach.

    Between two points of the curve it is interpolated linearly. Where the curve reaches that accuracy more than once,
    the largest tau counts: of equal choices the one that is better for the rare classes.
    """
    many = [each.many for each in baseline]
    if not many[-1] <= method.many <= max(many):
        return Gap(float("nan"), float("nan"))
    last = max(i for i, value in enumerate(many) if value >= method.many)
    share = 0.0
    if many[last] > method.many:
        share = (many[last] - method.many) / (many[last] - many[last + 1])
    here, beyond = baseline[last], baseline[min(last + 1, len(many) - 1)]
    return Gap(
        method.all - here.all - share * (beyond.all - here.all),
        method.few - here.few - share * (beyond.few - here.few),
    )
