"""Many-, medium- and few-shot classes, by the number of their training images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUPS = ("many", "medium", "few")


@dataclass(frozen=True)
class Convention:
    """A paper's thresholds: many-shot from `many_from` training images on, few-shot up to `few_to`."""

    name: str
    many_from: int
    few_to: int

    def group(self, counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.str_]:
        """The group of each class, `[C]`, from its training images; "" for a class without any."""
        counts = np.asarray(counts)
        return np.select([counts >= self.many_from, counts > self.few_to, counts > 0], GROUPS, "")

    @property
    def numbers(self) -> str:
        """The two thresholds, as `convention_of` reads them."""
        return f"{self.many_from},{self.few_to}"

    def bounds(self, group: str) -> str:
        """The training images of a group's classes, such as `>= 100`, `21-99` or `<= 20`."""
        low, high = self.few_to + 1, self.many_from - 1
        medium = f"{low}-{high}" if low < high else f"{low}" if low == high else "none"
        return {"many": f">= {self.many_from}", "medium": medium, "few": f"<= {self.few_to}"}[group]


UPSTREAM = Convention("upstream", many_from=100, few_to=20)  # many >= 100, few <= 20
# Most other papers' (Liu et al., CVPR 2019): many > 100, few < 20.
OTHERS = Convention("others", many_from=101, few_to=19)
CONVENTIONS = (UPSTREAM, OTHERS)


def convention_of(text: str | Sequence[int]) -> Convention:
    """The thresholds of a name (`upstream`, `others`), of `MANY,FEW`, or of the two numbers; else a ValueError."""
    known = {convention.name: convention for convention in CONVENTIONS}
    if isinstance(text, str) and text in known:
        return known[text]
    try:
        many_from, few_to = (int(part) for part in (text.split(",") if isinstance(text, str) else text))
    except (TypeError, ValueError):
        raise ValueError(
            f"Expected groups to be {' or '.join(known)}, or MANY,FEW such as 50,10, but got {text!r}."
        ) from None
    if not many_from > few_to >= 1:
        raise ValueError(
            f"Expected groups MANY,FEW with MANY > FEW >= 1 (many-shot from MANY training images on, few-shot up to "
            f"FEW) but got {many_from},{few_to}."
        )
    own = Convention(f"{many_from},{few_to}", many_from, few_to)
    return next((one for one in CONVENTIONS if one.numbers == own.numbers), own)
