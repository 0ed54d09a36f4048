"""Where a run lies beside the trade-off curve of its baseline: the difference at equal many-shot accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.report.evaluate.evaluation import group_masks
from vlltr_plugin.report.tradeoff.bootstrap import RESAMPLES, resampled_sums
from vlltr_plugin.report.tradeoff.curve import TradeOff, overall_and_shots
from vlltr_plugin.report.tradeoff.interpolate import on_curve
from vlltr_plugin.report.tradeoff.prior import TradeOffError

INTERVAL = (2.5, 97.5)
"""Percentiles of the resamples."""

LEAST_INSIDE = 0.95
"""Of the resamples, that the curve must reach for an interval: the others would be missing at one end of it."""


WORDS = {1: "above", 0: "on", -1: "below"}


@dataclass(frozen=True)
class Gap:
    """A run's accuracy minus the curve's.

    Attributes:
        value: in points of percent.
        low: lower end of its 95 % interval; None where there is none.
        high: the upper end.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out 0 on that side, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:+.1f}, {self.high:+.1f}]"
        return f"{self.value:+.1f}{interval}"


@dataclass(frozen=True)
class Placement:
    """A run beside its baseline's curve.

    Attributes:
        run: its name.
        baseline: the baseline's.
        tau: what the run itself is adjusted with; 0 as it was trained.
        many: its many-shot accuracy, in percent.
        reach: smallest and largest many-shot accuracy of the curve.
        few: difference in few-shot accuracy at equal many-shot accuracy; None outside the curve.
        overall: likewise in overall top-1.
        advice: what may bring it onto the curve where it is outside.
    """

    run: str
    baseline: str
    tau: float
    many: float
    reach: tuple[float, float]
    few: Gap | None
    overall: Gap | None
    advice: str = ""

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
        low, high = self.reach
        if self.few is None:
            return (
                f"{name} cannot be placed on {curve}: its many-shot accuracy of {self.many:.1f} % is outside the "
                f"curve's {low:.1f} to {high:.1f} %, and nothing is extrapolated. {self.advice}"
            )
        numbers = f"at equal many-shot accuracy ({self.many:.1f} %) few-shot {self.few}, overall {self.overall} points"
        if self.verdict == "undecided":
            return f"{name} is too near an end of {curve} for an interval: {numbers}."
        assert self.overall is not None
        if self.overall.sign not in (0, self.few.sign):
            curve += f" in few-shot and {WORDS[self.overall.sign]} it in overall"
        return f"{name} lies {self.verdict} {curve}: {numbers}."


def place(
    run: TradeOff | Sequence[TradeOff],
    baseline: TradeOff | Sequence[TradeOff],
    tau: float = 0.0,
    names: tuple[str, str] = ("the run", "the baseline"),
    resamples: int = RESAMPLES,
) -> Placement:
    """Puts a run on its baseline's curve.

    The interval is that of a bootstrap over the test images within classes, of run and curve together: both saw the
    same images. The scatter of other trainings (seeds) is not in it.

    Args:
        run: its curve, or those of its seeds, whose mean accuracies are placed.
        baseline: likewise, on the same images.
        tau: what the run itself is adjusted with: 0, as it was trained, or another of its taus.
        names: of run and baseline, for the sentence.
        resamples: number of bootstrap samples.

    Returns:
        The placement; `str()` gives the sentence.

    Raises:
        TradeOffError: where images, classes or groups differ, the tau is not among the run's, or many- or few-shot
            classes have no images.
    """
    own, other = (Scores([one] if isinstance(one, TradeOff) else one) for one in (run, baseline))
    return placements(own, other, [tau], names, resamples)[0]


def placements(
    run: Scores, baseline: Scores, taus: Sequence[float], names: tuple[str, str], resamples: int = RESAMPLES
) -> list[Placement]:
    """One for each of the run's taus, from the same resamples; see `place`."""
    refuse_others(run.seeds[0], baseline.seeds[0])
    for tau in taus:
        if tau not in run.taus:
            raise TradeOffError(f"Expected a tau of the run, {', '.join(f'{t:g}' for t in run.taus)}, but got {tau:g}.")
    here = [run.taus.index(tau) for tau in taus]
    rows = np.concatenate([baseline.hits.reshape(-1, run.images), run.hits[:, here].reshape(-1, run.images)])
    # The first row is of the images as they are, the others are the resamples'.
    sums = np.concatenate([rows.sum(axis=1, dtype=np.float64)[None], resampled_sums(rows, run.labels, resamples)])
    split = 3 * len(baseline.taus)
    curve = baseline.percent(sums[:, :split].reshape(len(sums), 3, -1))
    of_run = run.percent(sums[:, split:].reshape(len(sums), 3, -1))
    return [_placement(names, tau, curve, of_run[:, :, number], baseline.taus) for number, tau in enumerate(taus)]


class Scores:
    """How often each image was right at each tau, in the seeds of one method.

    Args:
        seeds: one or more, of the same images, classes, groups and taus.

    Raises:
        TradeOffError: where they differ, or have no images of many- or of few-shot classes.
    """

    def __init__(self, seeds: Sequence[TradeOff]) -> None:
        first = seeds[0]
        for other in seeds[1:]:
            refuse_others(first, other)
            if other.taus != first.taus:
                raise TradeOffError(f"Expected the seeds at the same taus but got {first.taus} and {other.taus}.")
        masks = group_masks(first.counts, first.groups)
        self.seeds, self.taus, self.labels, self.images = seeds, first.taus, first.labels, len(first.labels)
        self._many, self._few = masks["many"][self.labels], masks["few"][self.labels]
        for name, mask in (("many", self._many), ("few", self._few)):
            if not mask.any():
                raise TradeOffError(f"Expected test images of {name}-shot classes but there are none.")

    @cached_property
    def hits(self) -> NDArray[np.float32]:
        """Seeds that are right: on many-shot images, few-shot images and all, `[3, T, N]`.

        Whole numbers, so that sums are exact: equal predictions then have equal accuracies, to the last bit.
        """
        overall, shots = (self._right(number) for number in (0, 1))
        return np.stack([shots * self._many, shots * self._few, overall]).astype(np.float32)

    def percent(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Accuracies of sums of `hits` over the images, `[B, 3, T]`; classes keep their size in every resample."""
        most = len(self.seeds) * np.array([self._many.sum(), self._few.sum(), self.images])
        accuracies: NDArray[np.float64] = 100.0 * sums / most[:, None]
        return accuracies

    def _right(self, which: int) -> NDArray[np.int64]:
        right = [seed.predictions[overall_and_shots(seed)[which]] == seed.labels for seed in self.seeds]
        number: NDArray[np.int64] = np.sum(right, axis=0)
        return number


def refuse_others(one: TradeOff, other: TradeOff) -> None:
    """Raises TradeOffError where two curves are not of the same images, classes and groups."""
    if not np.array_equal(one.labels, other.labels):
        raise TradeOffError("Expected curves of the same images but their labels differ.")
    if not np.array_equal(one.counts, other.counts):
        raise TradeOffError("Expected curves of the same training set but their class counts differ.")
    if one.groups != other.groups:
        raise TradeOffError(f"Expected the same groups but got {one.groups.name} and {other.groups.name}.")


def _placement(
    names: tuple[str, str], tau: float, curve: NDArray[np.float64], run: NDArray[np.float64], taus: Sequence[float]
) -> Placement:
    """From the accuracies of the curve, `[1 + B, 3, T]`, at its taus `[T]`, and of the run, `[1 + B, 3]`."""
    many, few, overall = run.T
    few_there, overall_there = on_curve(curve[:, 0], curve[:, 1], curve[:, 2], many)
    reach = float(curve[0, 0].min()), float(curve[0, 0].max())
    gaps = _gap(few - few_there), _gap(overall - overall_there)
    advice = "" if gaps[0] else _advice(curve[0, 0], float(many[0]), taus)
    return Placement(*names, tau, float(many[0]), reach, *gaps, advice)


def _advice(curve: NDArray[np.float64], many: float, taus: Sequence[float]) -> str:
    """Which taus the baseline lacks, from its many-shot accuracies `[T]`; more of them help only past an end."""
    above = many > curve.max()
    best = np.flatnonzero(curve == (curve.max() if above else curve.min()))
    at_first, at_last = best[0] == 0, best[-1] == len(taus) - 1
    if at_first and (above or not at_last):  # a smaller tau gives to many-shot classes
        return f"Sweep the baseline below tau {taus[0]:g}."
    if at_last:
        return f"Sweep the baseline to a larger tau than {taus[-1]:g}."
    word, nearest = "highest" if above else "lowest", int(best[0])
    return f"The curve's is {word} at tau {taus[nearest]:g}, so that taus further out will hardly reach it."


def _gap(differences: NDArray[np.float64]) -> Gap | None:
    value, drawn = float(differences[0]), differences[1:]
    if np.isnan(value):
        return None
    inside = drawn[~np.isnan(drawn)]
    if len(inside) < max(2, LEAST_INSIDE * len(drawn)):
        return Gap(value, None, None)
    low, high = np.percentile(inside, INTERVAL).tolist()
    return Gap(value, low, high)
