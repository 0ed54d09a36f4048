"""The trade-off curve of one model: its accuracies at each tau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlltr_plugin.core.shot_groups import GROUPS, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.accuracy import accuracies, group_accuracy, group_masks, overall_rule, shots_rule
from vlltr_plugin.report.tables import Table
from vlltr_plugin.report.tradeoff.spans import right_at

if TYPE_CHECKING:  # `compare` reads curves without torch
    from vlltr_plugin.report.tradeoff.predictions import PredictionCollector

COLUMNS = ("tau", "top1", *GROUPS)  # of tradeoff.csv
DEFAULT_TAUS = tuple(0.25 * step for step in range(9))
"""0 to 2 in steps of 0.25; the default sweep continues in such steps until top-1 falls, see `until_it_falls`."""

FAR_TAUS = tuple(0.25 * step for step in range(33))  # 0 to 8 by 0.25: the longest such sweep

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class TradeOffError(ReportError, ValueError):
    """Raised for logits, labels, counts or taus that do not fit; also a ValueError, for Python callers."""


def log_prior(prior: ArrayLike) -> Floats:
    """`core.logit_adjustment.log_prior` of expected draws or training images, `[C]`; raises a TradeOffError."""
    from vlltr_plugin.core import logit_adjustment as adjustment  # imported here, since `compare` needs no torch

    try:
        return adjustment.log_prior(np.asarray(prior, dtype=np.float64)).numpy()
    except ValueError as error:
        raise TradeOffError("Expected a prior of one finite number a class, not negative and not all 0.") from error


def checked_taus(taus: Sequence[float]) -> tuple[float, ...]:
    """The distinct taus in ascending order; TradeOffError if there are none or one is not finite."""
    found = sorted({float(tau) + 0.0 for tau in taus})  # -0.0 is 0.0
    if not found or not np.isfinite(found).all():
        raise TradeOffError(f"Expected tau to be one or more finite numbers but got {list(taus)}.")
    return tuple(found)


@dataclass(frozen=True)
class Point:
    """The numbers at one tau; accuracies and calibration error in percent."""

    tau: float  # what the log prior was multiplied by
    top1: float  # over all images
    many: float | None  # over the images of many-shot classes; None without such images
    medium: float | None
    few: float | None
    macro_top1: float  # mean over the classes with images
    harmonic_top1: float  # harmonic mean over them; 0 if one of them is at 0
    ece: float  # expected calibration error


@dataclass(frozen=True)
class TradeOff:
    """The predictions of one model on one set of images under post-hoc logit adjustment.

    Attributes:
        taus: ascending, T of them.
        prior: `"draws"` or `"counts"`: tau times its logarithm was subtracted.
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
        """One row for each tau with the keys `COLUMNS`: the numbers that the host would log.

        With two branches `top1` is then of the mixture and the groups are of the sum of logits, as in its log.
        """
        overall, shots = (self.points[rule] for rule in self.overall_and_shots)
        return [
            {"tau": one.tau, "top1": one.top1} | {group: getattr(other, group) for group in GROUPS}
            for one, other in zip(overall, shots, strict=True)
        ]

    @property
    def overall_and_shots(self) -> tuple[str, str]:
        """The rules of the overall accuracy and of the groups."""
        return overall_rule(self.points), shots_rule(self.points)

    def csv(self) -> str:
        """The rows as CSV, unrounded; empty where a group has no images."""
        return Table("", COLUMNS, tuple(tuple(row[name] for name in COLUMNS) for row in self.rows)).csv()

    def best(self) -> Point:
        """The tau with the highest overall top-1 (the smallest if tied); choose it on a validation split."""
        points = self.points[self.overall_and_shots[0]]
        return points[self.taus.index(best_tau(self.taus, [point.top1 for point in points]))]

    def as_json(self) -> dict[str, Any]:
        """Plain values: `prior`, `groups`, `taus`, `rows`, and `rules` with all numbers of each."""
        return {
            "prior": self.prior,
            "groups": self.groups.name,
            "taus": list(self.taus),
            "rows": self.rows,
            "rules": {rule: [asdict(point) for point in points] for rule, points in self.points.items()},
        }


def best_tau(taus: Sequence[float], top1: Sequence[float]) -> float:
    """The tau with the highest accuracy; of several the nearest to 0."""
    return max(zip(taus, top1, strict=True), key=lambda pair: (pair[1], -abs(pair[0])))[0]


def regrouped(trade_off: TradeOff, groups: Convention) -> TradeOff:
    """The curve of the same predictions with other thresholds of many, medium and few."""
    inside = {name: mask[trade_off.labels] for name, mask in group_masks(trade_off.counts, groups).items()}
    points: dict[str, tuple[Point, ...]] = {}
    for rule, predictions in trade_off.predictions.items():
        points[rule] = ()
        for point, hits in zip(trade_off.points[rule], predictions == trade_off.labels, strict=True):
            of_groups: dict[str, Any] = {name: group_accuracy(hits, mask) for name, mask in inside.items()}
            points[rule] += (replace(point, **of_groups),)
    return replace(trade_off, groups=groups, points=points)


def until_it_falls(taus: tuple[float, ...], images: Sequence[PredictionCollector]) -> tuple[float, ...]:
    """The taus to sweep: `DEFAULT_TAUS` are extended until top-1 falls on all sets of images; other taus are kept."""
    if taus != DEFAULT_TAUS:
        return taus
    best = 0
    for one in images:
        by_rule = one.predictions()
        right = by_rule[overall_rule(by_rule)].right
        assert right is not None
        best = max(best, int(right_at(right, np.array(FAR_TAUS)).argmax()))
    return FAR_TAUS[: max(len(DEFAULT_TAUS), best + 2)]


def steps_of(rows: Sequence[dict[str, float | None]]) -> list[tuple[float, float, float]]:
    """tau, many- and few-shot accuracy of each row, for a picture; empty if one of the groups has no images."""
    found = [(row["tau"], row["many"], row["few"]) for row in rows]
    return [(tau, many, few) for tau, many, few in found if tau is not None and many is not None and few is not None]


def curve_of(
    images: PredictionCollector, counts: Ints, prior: str, groups: Convention, taus: tuple[float, ...] | None = None
) -> TradeOff:
    """The curve of collected predictions, at all of their taus or some; raises MissingExtraError (torchmetrics)."""
    labels, masks, taus = images.labels(), group_masks(counts, groups), taus or images.taus
    small = np.int16 if len(counts) <= 2**15 else np.int32  # some hundred thousand images have a prediction at each tau
    predictions: dict[str, NDArray[np.integer[Any]]] = {}
    points, right = {}, {}
    for rule, found in images.predictions().items():
        if found.right is not None:
            predictions[rule] = np.stack([found.at(tau)[0] for tau in taus]).astype(small)
            points[rule] = tuple(Point(tau, **accuracies(labels, *found.at(tau), masks, len(counts))) for tau in taus)
            right[rule] = found.right
    return TradeOff(taus, prior, groups, labels, counts, predictions, points, right)
