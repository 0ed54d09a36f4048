"""The trade-off curve of one model: its accuracies at each tau."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlltr_plugin.core.shot_groups import GROUPS, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.accuracy import (
    class_accuracies,
    expected_calibration_error,
    group_masks,
    harmonic_mean,
    overall_rule,
    shots_rule,
)
from vlltr_plugin.report.tradeoff.spans import right_at

if TYPE_CHECKING:
    from vlltr_plugin.report.tradeoff.sweep import Adjusted, SweepCollector

COLUMNS = ("tau", "top1", *GROUPS)
"""Of tradeoff.csv."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One tau; accuracies and calibration error in percent.

    Attributes:
        tau: what the log prior was multiplied by.
        top1: over all images.
        many: over the images of many-shot classes; None without such images.
        medium: of medium-shot classes.
        few: of few-shot classes.
        harmonic_top1: harmonic mean over the classes with images; 0 as soon as one is at 0.
        ece: expected calibration error.
    """

    tau: float
    top1: float
    many: float | None
    medium: float | None
    few: float | None
    harmonic_top1: float
    ece: float


@dataclass(frozen=True)
class TradeOff:
    """What post-hoc logit adjustment makes of one model's predictions on one set of images.

    Attributes:
        taus: ascending, T of them.
        prior: whose logarithm was taken off: `"draws"` or `"counts"`.
        groups: thresholds of many, medium and few.
        labels: int64 `[N]`.
        counts: training images of each class, int64 `[C]`.
        predictions: by rule the predicted classes, `[T, N]`: `single`; or `mixture` and `sum`.
        points: by rule, one for each tau.
        right: by rule the smallest and the largest tau at which each image is classified right, float64 `[2, N]`:
            the curve between and beyond `taus`.
    """

    taus: tuple[float, ...]
    prior: str
    groups: Convention
    labels: Ints
    counts: Ints
    predictions: dict[str, NDArray[np.integer[Any]]]
    points: dict[str, tuple[Point, ...]]
    right: dict[str, Floats]

    @property
    def rows(self) -> list[dict[str, float | None]]:
        """One for each tau with the keys `COLUMNS`: what the host would log.

        With two branches `top1` is then of the mixture and the groups are of the sum of logits, as in its log.
        """
        overall, shots = self.points[overall_rule(self.points)], self.points[shots_rule(self.points)]
        return [
            {"tau": one.tau, "top1": one.top1} | {group: getattr(other, group) for group in GROUPS}
            for one, other in zip(overall, shots, strict=True)
        ]

    def csv(self) -> str:
        """The rows as CSV, unrounded; empty where a group has no images."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            writer.writerow(["" if (value := row[name]) is None else repr(value) for name in COLUMNS])
        return text.getvalue()

    def best(self) -> Point:
        """The tau with the highest overall top-1, the smallest of several: choose it on a validation split."""
        points = self.points[overall_rule(self.points)]
        return points[self.taus.index(best_tau(self.taus, [point.top1 for point in points]))]

    def as_json(self) -> dict[str, Any]:
        """Plain values: `prior`, `groups`, `taus`, `rows`, and `rules` with all numbers of each."""
        rules = {rule: [asdict(point) for point in points] for rule, points in self.points.items()}
        return {
            "prior": self.prior,
            "groups": self.groups.name,
            "taus": list(self.taus),
            "rows": self.rows,
            "rules": rules,
        }


def best_tau(taus: Sequence[float], top1: Sequence[float]) -> float:
    """The tau with the highest accuracy; of several the nearest to 0."""
    return max(zip(taus, top1, strict=True), key=lambda pair: (pair[1], -abs(pair[0])))[0]


def regrouped(trade_off: TradeOff, groups: Convention) -> TradeOff:
    """The same predictions with other thresholds of many, medium and few."""
    masks = {name: group_masks(trade_off.counts, groups)[name][trade_off.labels] for name in GROUPS}
    points = {
        rule: tuple(
            Point(**asdict(point) | _group_accuracies(predicted == trade_off.labels, masks))
            for point, predicted in zip(trade_off.points[rule], found, strict=True)
        )
        for rule, found in trade_off.predictions.items()
    }
    return replace(trade_off, groups=groups, points=points)


def until_it_falls(taus: Sequence[float], right: Sequence[Floats]) -> tuple[float, ...]:
    """The taus to sweep: `DEFAULT_TAUS` go on until top-1 falls on all the images, others are as the user wants them.

    Args:
        taus: ascending.
        right: `TradeOff.right` of the overall rule, one for each set of images.
    """
    if tuple(taus) != DEFAULT_TAUS:
        return tuple(taus)
    best = max(int(right_at(one, np.array(FAR_TAUS)).argmax()) for one in right)
    return FAR_TAUS[: max(len(DEFAULT_TAUS), best + 2)]


def steps_of(rows: Sequence[dict[str, float | None]]) -> list[tuple[float, float, float]]:
    """tau, many- and few-shot accuracy of each row, for a picture; empty where one of the groups has no images."""
    found = [(row["tau"], row["many"], row["few"]) for row in rows]
    return [(tau, many, few) for tau, many, few in found if tau is not None and many is not None and few is not None]


def curve_of(
    collector: SweepCollector, counts: Ints, prior: str, groups: Convention, taus: Sequence[float] | None = None
) -> TradeOff:
    """The numbers of all predictions.

    Args:
        collector: with 1 or more images.
        counts: training images of each class, `[C]`.
        prior: `"draws"` or `"counts"`.
        groups: thresholds.
        taus: those of the collector's that are wanted; all by default.

    Raises:
        MissingExtraError: torchmetrics is not installed.
    """
    labels = collector.labels()
    by_rule = {
        rule: {tau: one for tau, one in found.items() if taus is None or tau in taus}
        for rule, found in collector.adjusted().items()
    }
    masks = {name: group_masks(counts, groups)[name][labels] for name in GROUPS}
    return TradeOff(
        taus=tuple(next(iter(by_rule.values()))),
        prior=prior,
        groups=groups,
        labels=labels,
        counts=counts,
        predictions={rule: _small(np.stack([a.top1 for a in found.values()])) for rule, found in by_rule.items()},
        points={
            rule: tuple(_point(tau, labels, adjusted, masks, len(counts)) for tau, adjusted in found.items())
            for rule, found in by_rule.items()
        },
        right=collector.right(),
    )


def _point(tau: float, labels: Ints, adjusted: Adjusted, masks: dict[str, NDArray[np.bool_]], classes: int) -> Point:
    hits = adjusted.top1 == labels
    of_class = class_accuracies(labels, adjusted.top1, classes)
    return Point(
        tau=tau,
        top1=100.0 * float(hits.mean()),
        **_group_accuracies(hits, masks),
        harmonic_top1=harmonic_mean(of_class[~np.isnan(of_class)]),
        ece=100.0 * expected_calibration_error(adjusted.confidence, hits),
    )


def _group_accuracies(hits: NDArray[np.bool_], masks: dict[str, NDArray[np.bool_]]) -> dict[str, float | None]:
    return {name: 100.0 * float(hits[mask].mean()) if mask.any() else None for name, mask in masks.items()}


def _small(predictions: Ints) -> NDArray[np.integer[Any]]:
    """In two bytes each where the classes allow it: a large test split has some hundred thousand at each tau."""
    fits = predictions.max(initial=0) <= np.iinfo(np.int16).max
    return predictions.astype(np.int16 if fits else np.int32)


def overall_and_shots(trade_off: TradeOff) -> Sequence[str]:
    """The rules of its overall accuracy and of its groups."""
    return overall_rule(trade_off.predictions), shots_rule(trade_off.predictions)


DEFAULT_TAUS = tuple(0.25 * step for step in range(9))
"""0 to 2 by 0.25; a sweep of these goes on by 0.25 until top-1 falls, see `until_it_falls`."""

FAR_TAUS = tuple(0.25 * step for step in range(33))
"""0 to 8 by 0.25: as far as it goes."""


class TradeOffError(ReportError, ValueError):
    """Logits, labels, counts or taus that do not fit; also a ValueError, for those who call from Python."""


def log_prior(prior: ArrayLike) -> NDArray[np.float64]:
    """log(m_i / max_j m_j), float64 `[C]`; see `core.logit_adjustment.log_prior`, which computes it.

    Args:
        prior: m_i, expected draws or training images of each class, `[C]`; only the ratios matter.

    Raises:
        TradeOffError: for numbers that are negative, not finite or all 0.
    """
    from vlltr_plugin.core import logit_adjustment as adjustment  # here: `compare` needs no torch

    try:
        return adjustment.log_prior(np.asarray(prior, dtype=np.float64)).numpy()
    except ValueError as error:
        raise TradeOffError("Expected a prior of one finite number a class, not negative and not all 0.") from error


def checked_taus(taus: Sequence[float]) -> tuple[float, ...]:
    """The taus in ascending order, each once.

    Raises:
        TradeOffError: for none, and for one that is no finite number.
    """
    found = sorted({float(tau) + 0.0 for tau in taus})  # -0.0 is 0.0
    if not found or not np.isfinite(found).all():
        raise TradeOffError(f"Expected tau to be one or more finite numbers but got {list(taus)}.")
    return tuple(found)
