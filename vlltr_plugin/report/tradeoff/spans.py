"""The taus between which each image is classified right, and the exact trade-off curve at every tau from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 2**16  # logits processed together: 512 KiB of float64, which stay in a processor's cache
NEVER = [[np.inf], [-np.inf]]  # the span of an image that is not classified correctly at any tau

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def right_between(logits: NDArray[np.floating[Any]], labels: Ints, log_prior: Floats) -> Floats:
    """Smallest and largest tau, `[2, B]`, at which `argmax(logits - tau * log_prior)` is the label; or `NEVER`.

    The label y leads class j while `tau * (log p_j - log p_y) >= z_j - z_y`: a half-line of taus for each j. Their
    intersection is one interval, both ends included. At equal values the first class is the prediction.
    """
    spans = np.empty((2, len(labels)))
    of_label = log_prior[labels]
    order = of_label.argsort(kind="stable")
    priors, starts = np.unique(of_label[order], return_index=True)
    for prior, alike in zip(priors, np.split(order, starts[1:]), strict=False):  # without images there is one split
        for rows in np.array_split(alike, 1 + alike.size * logits.shape[1] // CHUNK):
            spans[:, rows] = _right_between(logits[rows].astype(np.float64), labels[rows], log_prior - prior)
    return spans


@np.errstate(over="ignore", invalid="ignore")
def _right_between(logits: Floats, labels: Ints, gain: Floats) -> Floats:
    """`right_between` for labels of one prior; `gain` is the log prior of each class minus theirs."""
    lead = logits - logits[np.arange(len(labels)), labels][:, None]
    level = np.flatnonzero(gain == 0)
    best = level[lead.take(level, axis=1).argmax(axis=1)]
    spans = np.stack([_leads_from(lead, gain, labels), -_leads_from(lead, -gain, labels)])
    return np.where((spans[0] <= spans[1]) & (best == labels), spans, NEVER)


def _leads_from(lead: Floats, gain: Floats, labels: Ints) -> Floats:
    """Smallest tau at which the label's score is at least that of every class with positive gain, `[B]`."""
    rivals = np.flatnonzero(gain > 0)
    if not len(rivals):
        return np.full(len(lead), -np.inf)
    crossing = lead.take(rivals, axis=1)
    crossing /= gain[rivals]
    last = crossing.argmax(axis=1)
    start = crossing[np.arange(len(lead)), last]
    excluded = (rivals[last] < labels) & np.isfinite(start)
    begins: Floats = np.where(excluded, np.nextafter(start, np.inf), start)
    return begins


@np.errstate(divide="ignore", invalid="ignore")
def between_margins(margins: Floats, taus: Floats) -> Floats:
    """`right_between` from the margin of the label over the best other class, `[T, B]`, at ascending taus.

    The margin is taken as linear between the taus, with constant sign before the first and after the last. Several
    intervals are replaced by their hull.
    """
    right, images, last = margins > 0, np.arange(margins.shape[1]), len(taus) - 1
    start, end = right.argmax(axis=0), last - right[::-1].argmax(axis=0)

    def crossing(low: Ints, high: Ints) -> Floats:
        """The tau where the line between the margins of two taus is 0; halfway if one of them is not finite."""
        low, high = low.clip(min=0), high.clip(max=last)
        one, other = margins[low, images], margins[high, images]
        share = np.nan_to_num(one / (one - other), nan=0.5).clip(0, 1)
        between: Floats = taus[low] + share * (taus[high] - taus[low])
        return between

    first = np.where(start == 0, -np.inf, crossing(start - 1, start))
    return np.where(right.any(axis=0), [first, np.where(end == last, np.inf, crossing(end, end + 1))], NEVER)


def hits_at(spans: Floats, tau: float) -> NDArray[np.bool_]:
    """True for images classified correctly at a tau; `spans` is `[..., 2, N]`, the result `[..., N]`."""
    hits: NDArray[np.bool_] = (spans[..., 0, :] <= tau) & (tau <= spans[..., 1, :])
    return hits


def right_at(spans: Floats, taus: Floats) -> NDArray[np.int64]:
    """Number of correctly classified images at each of many taus, `[K]`; `spans` is `[..., 2, N]`, all summed."""
    starts, ends = np.sort(spans[..., 0, :], axis=None), np.sort(spans[..., 1, :], axis=None)
    never = len(starts) - int(np.searchsorted(starts, np.inf))
    number: NDArray[np.int64] = np.searchsorted(starts, taus, "right") - np.searchsorted(ends, taus, "left") + never
    return number


@dataclass(frozen=True)
class Curve:
    """Accuracies in percent as functions of tau; they change at finitely many taus, so the arrays hold all values."""

    taus: Floats  # taus at which a prediction becomes correct or wrong, and one between each two; ascending, `[K]`
    many: Floats
    few: Floats
    overall: Floats

    @classmethod
    def of(cls, shots: Floats, overall: Floats, many: NDArray[np.bool_], few: NDArray[np.bool_]) -> Curve:
        """The mean curve of S seeds, from the spans `[S, 2, N]` of the groups' rule and of the overall rule.

        `many` and `few` mark the images of many- and of few-shot classes, `[N]`.
        """
        changes = np.concatenate([shots.ravel(), overall.ravel()])
        changes = np.unique(changes[np.isfinite(changes)])
        changes = np.concatenate([[-1.0], changes, [1.0]]) if len(changes) else np.zeros(1)
        changes[[0, -1]] += changes[[1, -2]] if len(changes) > 1 else 0  # one tau beyond each end
        taus = np.sort(np.concatenate([changes, (changes[1:] + changes[:-1]) / 2]))
        parts = shots[..., many], shots[..., few], overall
        return cls(taus, *(100.0 * right_at(part, taus) / part[:, 0].size for part in parts))

    @property
    def top(self) -> int:
        """Index of the highest many-shot accuracy (the last if tied); smaller taus lose few-shot accuracy as well."""
        return len(self.many) - 1 - int(self.many[::-1].argmax())

    def at_many(self, many: float, few: float, overall: float) -> int | None:
        """Index of the point with a given many-shot accuracy; None beyond the curve's ends.

        On a finite test set a range of taus has this accuracy. Takes the point nearest in few-shot accuracy, then in
        top-1, so that a model adjusted with tau lies exactly on its own curve.
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
