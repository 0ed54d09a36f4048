"""The demo's result: test accuracy by group of classes, baseline and class volume side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from .digits import TEST, long_tailed_counts

# Title, key in the host's log, and the range of training images a class of the group has.
GROUPS = (
    ("many-shot", "test_many", 100, math.inf),
    ("medium-shot", "test_median", 21, 99),
    ("few-shot", "test_low", 0, 20),
    ("overall", "test_acc1", 0, math.inf),
)


@dataclass(frozen=True)
class GroupAccuracy:
    """Test accuracy of one group of classes, in percent.

    Attributes:
        title: Name of the group.
        images: Test images of the group.
        baseline: Accuracy of the baseline.
        class_volume: Accuracy of the run with class-volume weights.
    """

    title: str
    images: int
    baseline: float
    class_volume: float

    @property
    def difference(self) -> float:
        """Class volume minus baseline, in points."""
        return self.class_volume - self.baseline

    @property
    def standard_error(self) -> float:
        """Binomial standard error of the difference, in points; the scatter between runs comes on top."""
        shares = (self.baseline / 100.0, self.class_volume / 100.0)
        return 100.0 * math.sqrt(sum(p * (1.0 - p) for p in shares) / self.images)


def compare_groups(baseline: Mapping[str, Any], class_volume: Mapping[str, Any]) -> list[GroupAccuracy]:
    """Pair the accuracies of two final test lines of the host's log.

    Args:
        baseline: The line without `epoch` at the end of the baseline's log.
        class_volume: The same of the other run.

    Returns:
        Many-, medium-, few-shot and overall.

    Raises:
        ValueError: A line is not the result on the test split.
    """
    for name, line in (("baseline", baseline), ("class volume", class_volume)):
        if "epoch" in line or "test_acc1" not in line:
            raise ValueError(
                f"Expected the {name}'s log to end in a test line (`test_*` keys, no `epoch`), but got the keys "
                f"{sorted(line)}: let the run end, with test=True in its config"
            )
    counts = long_tailed_counts()
    return [
        GroupAccuracy(
            title=title,
            images=TEST * sum(least <= n <= most for n in counts),
            baseline=baseline[key],
            class_volume=class_volume[key],
        )
        for title, key, least, most in GROUPS
    ]


def comparison_table(groups: list[GroupAccuracy]) -> Table:
    """Return the rich table of the groups."""
    table = Table(title="Test accuracy in percent")
    table.add_column("classes")
    for heading in ("test images", "baseline", "class volume", "difference", "± s.e."):
        table.add_column(heading, justify="right")
    for group in groups:
        table.add_row(
            group.title,
            str(group.images),
            f"{group.baseline:.1f}",
            f"{group.class_volume:.1f}",
            f"{group.difference:+.1f}",
            f"{group.standard_error:.1f}",
        )
    return table
