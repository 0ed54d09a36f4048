"""The place of a run relative to its baseline's trade-off curve: the difference at equal many-shot accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.report.accuracy import group_masks
from vlltr_plugin.report.frame import Variance, freedom_of, half_width
from vlltr_plugin.report.tradeoff.curve import TradeOff, TradeOffError
from vlltr_plugin.report.tradeoff.spans import Curve, hits_at

STEPS = 32  # number of taus evaluated on either side of the run's place
MANY = np.array([1.0, 0.0, 0.0])  # selects many-shot accuracy from the three
ROUNDING = 1e-9  # points of accuracy, less than a single image adds
WORDS = {1: "above", 0: "on", -1: "below"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """A run's accuracy minus the curve's, in points of percent, and its 95 % interval; None if there is none."""

    value: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 or -1 if the interval is entirely above or below 0, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:+.1f}"
        digits = next((n for n in range(1, 6) if all(round(end, n) or not end for end in (self.low, self.high))), 6)
        return f"{self.value:+.{digits}f} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"


@dataclass(frozen=True)
class Placement:
    """A run compared with its baseline's curve; accuracies in percent."""

    run: str  # its name
    baseline: str
    tau: float  # tau of the run itself; 0 as trained
    many: float  # the run's many-shot accuracy
    reach: tuple[float, float]  # smallest and largest many-shot accuracy of the curve
    few: Gap | None  # difference in few-shot accuracy at equal many-shot accuracy; None outside the curve
    overall: Gap | None  # the same for overall top-1
    at: float  # tau of the baseline there; outside the curve, tau of the nearer end
    note: str = ""  # why there is no difference, or no interval

    @property
    def verdict(self) -> str:
        """`"above"`, `"on"` or `"below"` the curve of few- against many-shot accuracy; `"outside"`, `"undecided"`."""
        if self.few is None:
            return "outside"
        if self.few.low is None:
            return "undecided"
        return WORDS[self.few.sign]

    def __str__(self) -> str:
        name = self.run if not self.tau else f"{self.run} at tau {self.tau:g}"
        curve = f"the trade-off curve of {self.baseline}"
        if self.few is None:
            return f"{name} cannot be placed on {curve}: {self.note}"
        numbers = f"at equal many-shot accuracy ({self.many:.1f} %) few-shot {self.few}, overall {self.overall} points"
        if self.verdict == "undecided":
            return f"{name} is not judged against {curve}, {self.note}: {numbers}."
        assert self.overall is not None
        if self.overall.sign not in (0, self.few.sign):
            curve += f" in few-shot and {WORDS[self.overall.sign]} it in overall"
        return f"{name} lies {self.verdict} {curve}: {numbers}."


def place(
    run: TradeOff | Sequence[TradeOff],
    baseline: TradeOff | Sequence[TradeOff],
    tau: float = 0.0,
    names: tuple[str, str] = ("the run", "the baseline"),
    resamples: int | None = None,
) -> Placement:
    """Places a run relative to its baseline's curve.

    The curve is known at every tau, whatever taus were swept. The 95 % interval is for other test images of the same
    classes: run and curve use the same images, so it is computed from the differences of each image. With several
    seeds it also covers other seeds; with one it does not cover the scatter of other trainings.

    Args:
        run: the run's curve, or the curves of its seeds, whose mean accuracies are placed.
        baseline: the baseline's curve or curves, on the same images.
        tau: tau of the run itself; 0 is the run as trained.
        names: names of run and baseline, for the sentence.
        resamples: no effect; the interval is computed, not resampled.

    Returns:
        The placement; `str()` gives the sentence.

    Raises:
        TradeOffError: if images, classes or groups differ, or many- or few-shot classes have no images.
    """
    own, other = (Scores([one] if isinstance(one, TradeOff) else one) for one in (run, baseline))
    return placement(own, other, tau, names)


class Scores:
    """For each image the taus between which it is classified correctly, in one or more seeds of one method.

    Raises a TradeOffError if the seeds differ in images, classes or groups, or lack many- or few-shot images.
    """

    def __init__(self, seeds: Sequence[TradeOff]) -> None:
        self.first = first = seeds[0]
        for other in seeds[1:]:
            refuse_others(first, other)
        masks = group_masks(first.counts, first.groups)
        self.many, self.few = masks["many"][first.labels], masks["few"][first.labels]
        for name, mask in (("many", self.many), ("few", self.few)):
            if not mask.any():
                raise TradeOffError(f"Expected test images of {name}-shot classes but there are none.")
        self._overall, self._shots = (
            np.stack([seed.right[seed.overall_and_shots[which]] for seed in seeds]) for which in (0, 1)
        )

    @cached_property
    def curve(self) -> Curve:
        """Mean accuracies at every tau."""
        return Curve.of(self._shots, self._overall, self.many, self.few)

    def points(self, tau: float) -> Floats:
        """Each image's contribution to many-shot, few-shot and overall accuracy in percent, `[3, S, N]`."""
        shots, overall = hits_at(self._shots, tau), hits_at(self._overall, tau)
        of_many, of_few = (shots * mask * (100.0 / mask.sum()) for mask in (self.many, self.few))
        return np.stack([of_many, of_few, overall * (100.0 / len(self.many))])

    def accuracies(self, tau: float) -> tuple[float, ...]:
        """Many-shot, few-shot and overall accuracy, mean over the seeds; exactly equal to the curve's."""
        shots, overall = hits_at(self._shots, tau), hits_at(self._overall, tau)
        parts = shots[:, self.many], shots[:, self.few], overall
        return tuple(100.0 * float(part.sum()) / part.size for part in parts)


def refuse_others(one: TradeOff, other: TradeOff) -> None:
    """Raises TradeOffError if two curves differ in images, classes or groups."""
    if not np.array_equal(one.labels, other.labels):
        raise TradeOffError("Expected curves of the same images but their labels differ.")
    if not np.array_equal(one.counts, other.counts):
        raise TradeOffError("Expected curves of the same training set but their class counts differ.")
    if one.groups != other.groups:
        raise TradeOffError(f"Expected the same groups but got {one.groups.name} and {other.groups.name}.")


def variance_of_sum(scores: Floats, labels: NDArray[np.int64]) -> Variance:
    """Variance of the sum of `scores`, `[N]`, for other images of the same classes.

    A test set has a fixed number of images of each class. In a class of n images the variance is n times the unbiased
    one, with n - 1; of a single image its square, an upper bound.
    """
    size = np.maximum(np.bincount(labels), 1)
    total, squares = (np.bincount(labels, weights=scores**power) for power in (1, 2))
    spread = np.where(size > 1, (squares - total**2 / size) * size / np.maximum(size - 1, 1), squares)
    spread = np.maximum(spread, 0.0)
    value = float(spread.sum())
    freedom = value**2 / float((spread**2 / np.maximum(size - 1, 1)).sum()) if value else 1.0
    return Variance(value, freedom)


def variance_of_seeds(methods: Sequence[Floats], labels: NDArray[np.int64]) -> Variance:
    """Variance, for other seeds, of the sum over methods of the mean over seeds of scores, `[S, N]`, summed.

    The variance of the seeds' sums contains that of the test images within each seed, which `variance_of_sum` of the
    seeds' mean contains too: it is subtracted. A method of one seed adds nothing.
    """
    between, value = [], 0.0
    for scores in methods:
        seeds = len(scores)
        if seeds > 1:
            apart = scores - scores.mean(axis=0)
            within = sum(variance_of_sum(one, labels).value for one in apart) / (seeds - 1)
            between.append(Variance(float(scores.sum(axis=1).var(ddof=1)) / seeds, seeds - 1))
            value += between[-1].value - within / seeds
    return Variance(max(value, 0.0), freedom_of(between))


class Apart:
    """A run's many-shot, few-shot and overall accuracy minus those of the baseline at one tau, in points.

    `run` and `baseline` are each image's contributions to the three accuracies, in each seed, `[3, S, N]`.
    """

    def __init__(self, run: Floats, baseline: Floats, labels: NDArray[np.int64]) -> None:
        self._seeds, self.labels = (run, baseline), labels
        self.scores: Floats = run.mean(axis=1) - baseline.mean(axis=1)  # contributions of each image, [3, N]
        self.sums: Floats = self.scores.sum(axis=1)  # the differences, [3]
        self._of_many = self._variances(MANY)
        self.room = half_width(self._of_many)  # half of the 95 % interval of the difference in many-shot accuracy
        apart = abs(float(self.sums[0]))
        # Difference in many-shot accuracy over `room`; above 1 if it differs significantly.
        self.share = 0.0 if apart <= ROUNDING else apart / max(self.room, ROUNDING)

    def interval(self, number: int, spent: float = 0.0) -> tuple[float, float] | None:
        """Interval of the difference in few-shot accuracy (1) or top-1 (2) at equal many-shot accuracy.

        All values whose squared distance from the differences is within the 95 % quantile; None if none is. `spent` is
        a distance, as `share`, of other evidence against this tau.
        """
        left = 1 - self.share**2 - spent**2
        if left < 0:
            return None
        other = np.eye(3)[number]
        of_many = sum(one.value for one in self._of_many)
        slope = 0.0
        if of_many:
            more, less = (sum(one.value for one in self._variances(other + sign * MANY)) for sign in (1, -1))
            slope = (more - less) / (4 * of_many)
        rest = other - slope * MANY
        half = half_width(self._variances(rest)) * left**0.5
        centre = float(rest @ self.sums)
        return centre - half, centre + half

    def _variances(self, weights: Floats) -> list[Variance]:
        """Variances, for other images and for other seeds, of a weighted sum `[3]` of the differences."""
        methods = [np.tensordot(weights, scores, 1) for scores in self._seeds]
        return [variance_of_sum(weights @ self.scores, self.labels), variance_of_seeds(methods, self.labels)]


def placement(run: Scores, baseline: Scores, tau: float, names: tuple[str, str]) -> Placement:
    """Places the run at one tau; see `place`."""
    refuse_others(run.first, baseline.first)
    curve, points = baseline.curve, run.points(tau)

    def beside(index: int) -> Apart:
        """The run minus the baseline at a point of the baseline's curve."""
        return Apart(points, baseline.points(float(curve.taus[index])), run.first.labels)

    many, few, overall = run.accuracies(tau)
    low, high = reach = float(curve.many[-1]), float(curve.many[curve.top])
    at = curve.at_many(many, few, overall)
    if at is None:
        above = many > high
        at = curve.top if above else len(curve.many) - 1
        # A run not significantly beyond an end is placed at the end; leaving such runs out would bias the others.
        if beside(at).share > 1:
            note = (
                f"its many-shot accuracy of {many:.1f} % is {'above' if above else 'below'} all of the curve's "
                f"({low:.1f} to {high:.1f} %), and nothing is extrapolated. Relative to that end of the curve (tau "
                f"{curve.taus[at]:.2g}) it has {many - curve.many[at]:+.1f} points of many-shot and "
                f"{few - curve.few[at]:+.1f} of few-shot accuracy."
            )
            return Placement(*names, tau, many, reach, None, None, float(curve.taus[at]), note)
    values, note = (few - float(curve.few[at]), overall - float(curve.overall[at])), ""
    here = beside(at)
    alone = np.bincount(run.first.labels)[run.first.labels] == 1
    if any((alone & group).sum() > group.sum() / 2 for group in (run.many, run.few)):
        gaps = [Gap(value, None, None) for value in values]
        note = "as most of its classes have one test image each, which gives no interval"
    elif not here.scores.any():  # the run equals the baseline at that tau
        gaps = [Gap(value, 0.0, 0.0) for value in values]
    else:
        ends = _intervals(here, beside, baseline, at)
        gaps = [Gap(value, *interval) for value, interval in zip(values, ends, strict=True)]
    return Placement(*names, tau, many, reach, gaps[0], gaps[1], float(curve.taus[at]), note)


def _intervals(here: Apart, beside: Callable[[int], Apart], baseline: Scores, at: int) -> list[tuple[float, float]]:
    """Intervals of the differences in few-shot accuracy and top-1; `here` is `beside(at)`.

    Joins the intervals of the difference beside all taus of the baseline that may have the run's many-shot accuracy: a
    profile over tau. Where the curve is straight this is the delta method; at its top many-shot accuracy says little
    about tau, and the interval is wide.
    """
    curve = baseline.curve
    far = abs(curve.many - curve.many[at] - here.sums[0]) > 2 * here.room
    before, after = np.flatnonzero(far[:at]), np.flatnonzero(far[at:])
    first, last = (before[-1] + 1 if len(before) else 0), (at + after[0] - 1 if len(after) else len(far) - 1)
    steps = np.concatenate([np.linspace(first, at, STEPS), np.linspace(at, last, STEPS)])

    found: list[list[tuple[float, float]]] = [[], []]
    top = baseline.points(float(curve.taus[curve.top]))
    for index in np.unique(steps.astype(int)).tolist():
        spent = 0.0  # how significantly this point is before the curve's top
        if index < curve.top:
            apart = top - baseline.points(float(curve.taus[index]))
            spent = Apart(apart, np.zeros_like(apart[:, :1]), here.labels).share
        other = beside(index)
        for number, of in enumerate(found, 1):
            if (interval := other.interval(number, spent)) is not None:
                of.append(interval)
    return [
        (min([value, *(low for low, _ in of)]), max([value, *(high for _, high in of)]))
        for value, of in zip(here.sums[1:].tolist(), found, strict=True)
    ]
