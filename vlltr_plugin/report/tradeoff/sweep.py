"""What a model predicts once tau times the log prior has been taken off its logits, for each of several taus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlltr_plugin.report.evaluate.predictions import ONE_BRANCH_RULES, PredictionCollector
from vlltr_plugin.report.tradeoff.prior import checked_taus
from vlltr_plugin.report.tradeoff.spans import between_margins, right_between

SWEPT_RULES = ("mixture", "sum")
"""The two rules of a model with two branches; a model with one output has the rule `single`."""

MIXTURE_TAUS = tuple(0.25 * step for step in range(-16, 33))
"""Where the mixture of softmaxes is looked at; unlike the other rules it has no closed form between them."""


@dataclass(frozen=True)
class Adjusted:
    """Predictions of one rule at one tau; arrays `[N]`.

    Attributes:
        top1: the predicted class, int64.
        confidence: its probability, float64.
    """

    top1: NDArray[np.int64]
    confidence: NDArray[np.float64]


class SweepCollector(PredictionCollector):
    """A `PredictionCollector` that also predicts at each tau; nothing of size C stays of an image.

    The adjustment is that of Menon et al., ICLR 2021, Eq. 9: `logits - tau * log prior`. Of a model with two branches
    each branch is adjusted, as each was trained under that prior: the mixture is of the softmaxes of the adjusted
    logits, the sum of the adjusted logits.

    Args:
        num_classes: C.
        visual_share: part of the visual branch in the mixture of softmaxes.
        taus: as `checked_taus` gives them. At 0 nothing is taken off: the predictions are those of the base class.
        log_prior: float64 `[C]`, as `prior.log_prior` gives it.
    """

    def __init__(
        self, num_classes: int, visual_share: float, taus: Sequence[float], log_prior: NDArray[np.float64]
    ) -> None:
        super().__init__(num_classes, visual_share)
        self.taus = checked_taus(taus)
        self._log_prior = torch.from_numpy(log_prior)
        self._adjusted: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
        self._right: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch; see `PredictionCollector.add`."""
        super().add(outputs, labels)
        branches = [_widened(logits) for logits in ([outputs] if isinstance(outputs, Tensor) else outputs)]
        log_prior = self._log_prior.to(branches[0])
        at_each = list(self._at_each_tau(branches, log_prior))
        for rule in at_each[0] if at_each else ():
            top1, confidence = (
                torch.stack(column).cpu() for column in zip(*(one[rule] for one in at_each), strict=True)
            )
            self._adjusted.setdefault(rule, []).append((top1.numpy(), confidence.double().numpy()))
        for rule, spans in self._spans(branches, labels, log_prior).items():
            self._right.setdefault(rule, []).append(spans)

    def adjusted(self) -> dict[str, dict[float, Adjusted]]:
        """By rule (`SWEPT_RULES`, or `single`), then by tau."""
        plain = self.predictions()
        rules = ONE_BRANCH_RULES if ONE_BRANCH_RULES[0] in plain else SWEPT_RULES
        found = {}
        for rule in rules:
            parts = zip(*self._adjusted.get(rule, []), strict=True)
            rows = zip(*(np.concatenate(part, axis=1) for part in parts), strict=True)
            found[rule] = {
                tau: Adjusted(*next(rows)) if tau else Adjusted(plain[rule].top1, plain[rule].confidence)
                for tau in self.taus
            }
        return found

    def right(self) -> dict[str, NDArray[np.float64]]:
        """By rule the taus between which each image is right, `[2, N]`; see spans.py."""
        return {rule: np.concatenate(parts, axis=1) for rule, parts in self._right.items()}

    def _at_each_tau(self, branches: list[Tensor], log_prior: Tensor) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        """`_best` at each tau but 0, in one memory for all: new tensors for each tau would fragment the heap."""
        adjusted = [torch.empty_like(logits) for logits in branches]
        for tau in filter(None, self.taus):
            for logits, own in zip(branches, adjusted, strict=True):
                torch.sub(logits, tau * log_prior, out=own)
            yield self._best(adjusted)

    def _best(self, branches: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """The most probable class and its probability by each rule, `[B]` each; overwrites the branches."""
        if len(branches) == 1:
            return {"single": _most_probable(branches[0])}
        confidence, top1 = self._mixture(branches).max(dim=1)
        return {"mixture": (top1, confidence), "sum": _most_probable(branches[0].add_(branches[1]))}

    def _mixture(self, branches: list[Tensor]) -> Tensor:
        first, second = branches
        return first.softmax(1) * self.visual_share + second.softmax(1) * (1 - self.visual_share)

    def _spans(self, branches: list[Tensor], labels: Tensor, log_prior: Tensor) -> dict[str, NDArray[np.float64]]:
        """See `right`."""
        on_cpu, prior = labels.cpu().numpy(), self._log_prior.numpy()
        if len(branches) == 1:
            return {"single": right_between(branches[0].cpu().numpy(), on_cpu, prior)}
        rows = []
        for tau in MIXTURE_TAUS:
            mixture = self._mixture([logits - tau * log_prior for logits in branches]).log_()
            own = mixture.gather(1, labels[:, None])[:, 0]
            rows.append((own - mixture.scatter_(1, labels[:, None], -torch.inf).amax(dim=1)).cpu().double().numpy())
        return {
            "mixture": between_margins(np.stack(rows), np.array(MIXTURE_TAUS)),
            "sum": right_between((branches[0] + branches[1]).cpu().numpy(), on_cpu, 2 * prior),
        }


def _widened(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted class and its probability; overwrites the logits."""
    top1 = logits.argmax(dim=1)
    highest = logits.gather(1, top1[:, None])
    return top1, logits.sub_(highest).exp_().sum(dim=1).reciprocal()
