"""The trade-off curve at every tau, and the point of it with a given many-shot accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.report.tradeoff.spans import right_at

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Accuracies in percent as functions of tau; they change at finitely many taus, so all their values are here.

    Attributes:
        taus: every tau at which an image begins or ceases to be right, and one in between; ascending, `[K]`.
        many: many-shot accuracy at each.
        few: few-shot accuracy.
        overall: top-1.
    """

    taus: Floats
    many: Floats
    few: Floats
    overall: Floats

    @property
    def top(self) -> int:
        """Where many-shot accuracy is highest, the last place of several.

        Larger taus trade it for few-shot accuracy. Smaller ones lose both: nobody would choose them.
        """
        return len(self.many) - 1 - int(self.many[::-1].argmax())

    def at_many(self, many: float, few: float, overall: float) -> int | None:
        """Index of the point with that many-shot accuracy; None beyond the curve's ends.

        On a finite test set a range of taus has it. Of these the point nearest in few-shot accuracy counts, then in
        top-1: a model adjusted with tau is then exactly on its own curve.
        """
        same = np.flatnonzero((self.many == many) & (self.few == few) & (self.overall == overall))
        if len(same):
            return int(same[-1])
        top = self.top
        beyond = self.many[top:]
        if not beyond[-1] <= many <= beyond[0]:
            return None
        ends = int((beyond <= many).argmax()), len(beyond) - 1 - int((beyond >= many)[::-1].argmax())
        here = np.arange(top + min(ends), top + max(ends) + 1)
        order = np.lexsort((abs(self.overall[here] - overall), abs(self.few[here] - few)))
        return int(here[order[0]])


def curve_at_every_tau(shots: Floats, overall: Floats, many: NDArray[np.bool_], few: NDArray[np.bool_]) -> Curve:
    """The mean curve of S seeds.

    Args:
        shots: where the images are right by the rule of the groups, `[S, 2, N]`; see spans.py.
        overall: by the rule of the overall accuracy.
        many: whether each image is of a many-shot class, `[N]`.
        few: likewise of a few-shot class.
    """
    changes = np.concatenate([shots.ravel(), overall.ravel()])
    changes = np.unique(changes[np.isfinite(changes)])
    changes = np.concatenate([[-1.0], changes, [1.0]]) if len(changes) else np.zeros(1)
    changes[[0, -1]] += changes[[1, -2]] if len(changes) > 1 else 0  # a tau beyond either end
    taus = np.sort(np.concatenate([changes, (changes[1:] + changes[:-1]) / 2]))
    parts = shots[..., many], shots[..., few], overall
    return Curve(taus, *(100.0 * right_at(part, taus) / part[:, 0].size for part in parts))
