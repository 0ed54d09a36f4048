"""Reading the results: means over seeds with 95 % intervals (Student's t), differences paired by seed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from frozen_tower_curve import Gap, Point, gap
from scipy import stats


class Estimate(NamedTuple):
    """A mean and the half width of its 95 % confidence interval; nan when there is one value or none."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        """For a table."""
        if math.isnan(self.mean):
            return ""
        return f"{self.mean:+.2f}" + ("" if math.isnan(self.half_width) else f" ± {self.half_width:.2f}")


def estimate(values: list[float]) -> Estimate:
    """Over the values that are numbers, if most are."""
    known = [value for value in values if not math.isnan(value)]
    if not known or len(known) < len(values) / 2:
        return Estimate(math.nan, math.nan)
    if len(known) == 1:
        return Estimate(known[0], math.nan)
    deviation = float(np.std(known, ddof=1))
    quantile = float(stats.t.ppf(0.975, len(known) - 1))
    return Estimate(float(np.mean(known)), quantile * deviation / math.sqrt(len(known)))


@dataclass(frozen=True)
class Cell:
    """All seeds of a cell.

    Attributes:
        name: as on the command line.
        lines: one for each seed, in the order of the file.
    """

    name: str
    lines: list[dict[str, Any]]

    @property
    def methods(self) -> list[str]:
        """Those that any seed has, in the order in which they come."""
        return list(dict.fromkeys(name for line in self.lines for name in line["methods"]))

    def having(self, *methods: str) -> Cell:
        """The seeds that have all of these."""
        return Cell(self.name, [line for line in self.lines if all(name in line["methods"] for name in methods)])

    def points(self, method: str) -> list[Point]:
        """Its accuracies, by seed."""
        lines = self.having(method).lines
        return [Point(*(line["methods"][method][field] for field in Point._fields)) for line in lines]

    def curves(self, method: str = "ce") -> list[list[Point]]:
        """ce's trade-off curve, for the seeds that have a method."""
        return [[Point(*each) for each in line["curve"]] for line in self.having(method).lines]

    def gaps(self, method: str) -> list[Gap]:
        """Against ce's curve at equal many-shot accuracy, by seed."""
        return [gap(point, curve) for point, curve in zip(self.points(method), self.curves(method), strict=True)]

    def described(self, method: str, key: str) -> list[float]:
        """A number that describes radii or weights, by seed; nan where there is none."""
        return [line["methods"][method].get(key, math.nan) for line in self.having(method).lines]

    def mean_point(self, method: str) -> Point:
        """Its mean accuracies."""
        return Point(*np.mean(self.points(method), axis=0))

    def difference(self, first: str, second: str, of: Callable[[Point], float] = lambda point: point.all) -> Estimate:
        """Accuracy of one method minus another's, in points, over the seeds that have both."""
        both = self.having(first, second)
        pairs = zip(both.points(first), both.points(second), strict=True)
        return estimate([of(a) - of(b) for a, b in pairs])

    def gap_difference(self, first: str, second: str) -> Estimate:
        """How much higher above ce's curve the one lies than the other, in points of mean class accuracy."""
        both = self.having(first, second)
        pairs = zip(both.gaps(first), both.gaps(second), strict=True)
        return estimate([a.all - b.all for a, b in pairs])


def read(paths: list[Path]) -> list[Cell]:
    """The cells of results files, in the order in which they come."""
    lines = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
    names = dict.fromkeys(line["cell"] for line in lines)
    return [Cell(name, [line for line in lines if line["cell"] == name]) for name in names]
