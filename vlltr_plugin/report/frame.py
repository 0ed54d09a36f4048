"""One frame of numbers (method, seed, stage, metric, value), and their summaries over the seeds of a method."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

INTERVAL = "± 95 % interval over seeds (Student's t)"
"""The meaning of ± in every report, for titles and notes."""

STUDENT_T = {
    **{1: 12.706, 1.1: 10.277, 1.2: 8.649, 1.3: 7.501, 1.5: 6.017, 1.7: 5.119, 2: 4.303, 2.5: 3.575, 3: 3.182},
    **{4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 12: 2.179, 30: 2.042, 1e9: 1.960},
}
"""97.5 % quantile of Student's t by degrees of freedom; 1/freedom is interpolated, which gives at most 0.8 % more."""

Stage = str | int
"""The stage at which a number was measured: `"best"`, `"last"`, `"test"`, an epoch, or `at_tau(...)`."""


def at_tau(tau: float) -> Stage:
    """The stage of an evaluation whose logits were adjusted by tau; 0 is the model as trained."""
    return f"tau {float(tau)!r}"


class Variance(NamedTuple):
    """An estimated variance, and its degrees of freedom."""

    value: float
    freedom: float


def half_width(variances: Sequence[Variance]) -> float:
    """Half of the 95 % interval of a sum of independent terms with these variances."""
    quantile = np.interp(-1 / freedom_of(variances), -1 / np.array(list(STUDENT_T)), list(STUDENT_T.values()))
    return float(quantile * np.sqrt(sum(one.value for one in variances)))


def freedom_of(variances: Sequence[Variance]) -> float:
    """Degrees of freedom of a sum of independent variances (Welch and Satterthwaite)."""
    parts = [one for one in variances if one.value]
    if not parts:
        return 1.0
    return max(sum(one.value for one in parts) ** 2 / sum(one.value**2 / one.freedom for one in parts), 1.0)


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation (n - 1; None with one run) of a number over n runs."""

    mean: float
    sd: float | None
    n: int

    @property
    def variance(self) -> Variance | None:
        """Variance of the mean."""
        return None if self.sd is None else Variance(self.sd**2 / self.n, self.n - 1)

    @property
    def half(self) -> float | None:
        """Half of the mean's 95 % interval; None with one run."""
        return None if self.variance is None else half_width([self.variance])


@dataclass(frozen=True)
class Difference:
    """A mean minus another one, its standard error and half of its 95 % interval; None unless both have two runs."""

    value: float
    se: float | None = None
    half: float | None = None


def summarise(values: Sequence[float]) -> Summary | None:
    """Summary of values; None without values. A value that is not finite makes mean and deviation not finite."""
    if not values:
        return None
    if not all(map(math.isfinite, values)):  # a seed diverged; the `statistics` module would fail on it
        return Summary(sum(values) / len(values), math.nan if len(values) > 1 else None, len(values))
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def subtract(one: Summary | None, other: Summary | None) -> Difference | None:
    """Difference of two independent sets of runs; None if either is missing."""
    if one is None or other is None:
        return None
    value = one.mean - other.mean
    if one.variance is None or other.variance is None:
        return Difference(value)
    variances = [one.variance, other.variance]
    return Difference(value, math.sqrt(sum(part.value for part in variances)), half_width(variances))


class Frame:
    """Numbers by method, seed (runs count from 0), stage and metric; a number added again replaces the old one."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Stage, str], dict[int, float]] = {}

    def add(self, method: str, seed: int, stage: Stage, numbers: Mapping[str, float | None]) -> None:
        """Adds numbers of one run at one stage, by metric; None is ignored."""
        for metric, value in numbers.items():
            if value is not None:
                self._values.setdefault((method, stage, metric), {})[seed] = value

    def value(self, method: str, seed: int, stage: Stage, metric: str) -> float | None:
        """The number of one run; None if unknown."""
        return self._values.get((method, stage, metric), {}).get(seed)

    def summary(self, method: str, stage: Stage, metric: str) -> Summary | None:
        """Summary over the seeds; None if no seed has the number."""
        return summarise(list(self._values.get((method, stage, metric), {}).values()))

    def paired(self, method: str, other: str, stage: Stage, metric: str) -> Summary | None:
        """Summary of `method` minus `other` for each seed that both have."""
        one, rival = (self._values.get((name, stage, metric), {}) for name in (method, other))
        return summarise([value - rival[seed] for seed, value in one.items() if seed in rival])

    def over_epochs(self, method: str, metric: str) -> dict[int, Summary]:
        """Summary of a number at each epoch that has it."""
        stages = [stage for name, stage, number in self._values if (name, number) == (method, metric)]
        epochs = sorted(stage for stage in stages if isinstance(stage, int))
        return {epoch: summary for epoch in epochs if (summary := self.summary(method, epoch, metric)) is not None}

    def metrics(self, stages: Collection[Stage]) -> set[str]:
        """The metrics that any method has at any of these stages."""
        return {metric for _, stage, metric in self._values if stage in stages}
