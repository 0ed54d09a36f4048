"""Accuracy by group, ce's trade-off curve, and where a method lies against it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlltr_plugin.report.tradeoff.spans import Curve, right_between

TAUS = [round(0.1 * step, 1) for step in range(41)]
"""Of the post-hoc adjustment logits - tau log n (Menon et al., ICLR 2021, Eq. 9) that draws the curve."""


class Point(NamedTuple):
    """Mean class accuracy in percent: of all classes, and of the many-, medium- and few-shot ones."""

    all: float
    many: float
    medium: float
    few: float


def point(logits: Tensor, labels: Tensor, groups: Tensor) -> Point:
    """Accuracy of logits `[M, C]`; `groups` is bool `[3, C]`."""
    num_classes = groups.shape[1]
    right = torch.bincount(labels[logits.argmax(dim=1) == labels], minlength=num_classes).double()
    of_class = 100 * right / torch.bincount(labels, minlength=num_classes)
    return Point(*(round(float(part.mean()), 3) for part in (of_class, *(of_class[group] for group in groups))))


def curve(
    logits: Tensor, labels: Tensor, groups: Tensor, class_counts: Tensor, taus: Sequence[float] = TAUS
) -> list[Point]:
    """Accuracy of logits `[M, C]` after subtracting tau log n, for every tau."""
    log_counts = class_counts.double().log().float()
    return [point(logits - tau * log_counts, labels, groups) for tau in taus]


class Height(NamedTuple):
    """A method minus ce's curve at equal many-shot accuracy, in points."""

    all: float
    few: float


class ExactCurve:
    """ce's curve at every tau, from logits `[M, C]` of as many test images in each class."""

    def __init__(self, logits: Tensor, labels: Tensor, groups: Tensor, class_counts: Tensor) -> None:
        right = right_between(logits.numpy(), labels.numpy(), class_counts.double().log().numpy())[None]
        many, _, few = (group[labels].numpy() for group in groups)
        found = Curve.of(right, right, many, few)
        self.curve = Curve(found.taus, *(values.round(3) for values in (found.many, found.few, found.overall)))

    @property
    def best(self) -> tuple[float, float]:
        """The tau of the highest mean class accuracy, and that accuracy."""
        top = int(self.curve.overall.argmax())
        return float(self.curve.taus[top]), float(self.curve.overall[top])

    def height(self, method: Point) -> Height:
        """How far above the curve a method lies.

        One with more many-shot accuracy than the whole curve is compared with the curve's top (to leave it out would
        bias the others); with less than the whole curve there is no height, nan.
        """
        curve = self.curve
        at = curve.at_many(method.many, method.few, method.all)
        if at is None and method.many < curve.many[-1]:
            return Height(math.nan, math.nan)
        at = curve.top if at is None else at
        return Height(method.all - float(curve.overall[at]), method.few - float(curve.few[at]))


def interpolated(method: Point, baseline: list[Point]) -> Height:
    """A method against the curve at the taus of `TAUS`, as exactly as these allow, nan beyond the curve's ends.

    Where the curve reaches its many-shot accuracy more than once, the largest tau counts.
    """
    many = [each.many for each in baseline]
    if not many[-1] <= method.many <= max(many):
        return Height(math.nan, math.nan)
    last = max(i for i, value in enumerate(many) if value >= method.many)
    ends = baseline[last : last + 2][::-1]  # many-shot accuracy ascends
    at = Point(*(float(np.interp(method.many, [each.many for each in ends], column)) for column in zip(*ends)))  # noqa: B905
    return Height(method.all - at.all, method.few - at.few)
