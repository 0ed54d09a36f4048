"""Many-, medium- and few-shot classes, by the number of their training images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUPS = ("many", "medium", "few")


@dataclass(frozen=True)
class Convention:
    """Where a paper or a code base draws the lines, in training images of a class.

    Attributes:
        name: short name.
        many_from: smallest count of a many-shot class.
        few_to: largest count of a few-shot class.
    """

    name: str
    many_from: int
    few_to: int

    def group(self, counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.str_]:
        """The group of each class, `[C]`, from its training images, `[C]`; classes without images are few-shot."""
        counts = np.asarray(counts)
        return np.select([counts >= self.many_from, counts > self.few_to], ["many", "medium"], "few")


UPSTREAM = Convention("upstream", many_from=100, few_to=20)
"""Many >= 100, few <= 20."""

OTHERS = Convention("others", many_from=101, few_to=19)
"""Most other papers' (Liu et al., CVPR 2019): many > 100, few < 20."""
