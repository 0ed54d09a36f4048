"""Reading the results: means over seeds with 95 % intervals (Student's t), differences paired by seed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import Line, lines_of
from frozen_tower_curve import TAUS, Height, Point, interpolated
from scipy import stats


class Estimate(NamedTuple):
    """A mean and the half width of its 95 % confidence interval; nan when there is one value or none."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        half = "" if math.isnan(self.half_width) else f" ± {self.half_width:.2f}"
        return "" if math.isnan(self.mean) else f"{self.mean:+.2f}{half}"


def estimate(values: list[float]) -> Estimate:
    """Over the values that are numbers, if most are."""
    known = [value for value in values if not math.isnan(value)]
    if not known or len(known) < len(values) / 2:
        return Estimate(math.nan, math.nan)
    if len(known) == 1:
        return Estimate(known[0], math.nan)
    return Estimate(float(np.mean(known)), float(stats.t.ppf(0.975, len(known) - 1) * stats.sem(known)))


@dataclass(frozen=True)
class Cell:
    """All seeds of a cell; each of its lines is one seed."""

    name: str
    lines: list[Line]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(name for line in self.lines for name in line["methods"]))

    def having(self, *methods: str) -> list[Line]:
        return [line for line in self.lines if all(name in line["methods"] for name in methods)]

    def points(self, method: str) -> list[Point]:
        return [Point(*(line["methods"][method][field] for field in Point._fields)) for line in self.having(method)]

    def heights(self, method: str) -> list[Height]:
        """Against ce's curve at equal many-shot accuracy, by seed."""
        return [
            Height(*line["heights"][method])
            if "heights" in line
            else interpolated(point, [Point(*each) for each in line["curve"]])
            for line, point in zip(self.having(method), self.points(method), strict=True)
        ]

    def numbers(self, method: str, what: str) -> list[float]:
        """By seed: accuracy of `"all"`, `"many"`, `"medium"` or `"few"`, or the `"height"` in mean class accuracy."""
        if what == "height":
            return [height.all for height in self.heights(method)]
        return [getattr(point, what) for point in self.points(method)]

    @property
    def best(self) -> tuple[float, float]:
        """Tau and mean class accuracy of the highest point of ce's curve."""
        found = []
        for line in self.lines:
            highest = int(np.argmax([every for every, *_ in line["curve"]]))
            found.append(line.get("best") or [TAUS[highest], line["curve"][highest][0]])
        tau, accuracy = np.mean(found, axis=0)
        return float(tau), float(accuracy)

    def described(self, method: str, key: str) -> list[float]:
        """A number that describes radii or weights, by seed; nan where there is none."""
        return [line["methods"][method].get(key, math.nan) for line in self.having(method)]

    def mean_point(self, method: str) -> Point:
        return Point(*np.mean(self.points(method), axis=0))

    def difference(self, first: str, second: str, what: str = "all") -> Estimate:
        """One method minus another, in points, over the seeds that have both."""
        both = Cell(self.name, self.having(first, second))
        pairs = zip(both.numbers(first, what), both.numbers(second, what), strict=True)
        return estimate([a - b for a, b in pairs])


def read(paths: list[Path]) -> dict[str, Cell]:
    """The cells of results files by name, in the order in which they come; the lines of a seed are joined."""
    found: dict[str, dict[int, Line]] = {}
    for line in (line for path in paths for line in lines_of(path)):
        seeds = found.setdefault(line["cell"], {})
        known = seeds.get(line["seed"], line)
        joined = {
            part: {**known[part], **line[part], **known[part]} for part in ("methods", "heights") if part in known
        }
        seeds[line["seed"]] = {**known, **joined}
    return {name: Cell(name, list(seeds.values())) for name, seeds in found.items()}
