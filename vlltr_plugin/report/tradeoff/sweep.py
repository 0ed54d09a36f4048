"""What a model predicts once tau times the log prior has been taken off its logits, for each of several taus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlltr_plugin.report.evaluate.predictions import ONE_BRANCH_RULES, PredictionCollector
from vlltr_plugin.report.tradeoff.prior import checked_taus

SWEPT_RULES = ("mixture", "sum")
"""The two rules of a model with two branches; a model with one output has the rule `single`."""


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
        self._adjusted: dict[tuple[float, str], list[tuple[Tensor, Tensor]]] = {}

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch; see `PredictionCollector.add`."""
        super().add(outputs, labels)
        branches = [_widened(logits) for logits in ([outputs] if isinstance(outputs, Tensor) else outputs)]
        log_prior = self._log_prior.to(branches[0])
        for tau in self.taus:
            if tau:
                for rule, (top1, confidence) in self._best([logits - tau * log_prior for logits in branches]).items():
                    self._adjusted.setdefault((tau, rule), []).append((top1.cpu(), confidence.double().cpu()))

    def adjusted(self) -> dict[str, dict[float, Adjusted]]:
        """By rule (`SWEPT_RULES`, or `single`), then by tau."""
        plain = self.predictions()
        rules = ONE_BRANCH_RULES if ONE_BRANCH_RULES[0] in plain else SWEPT_RULES
        return {
            rule: {
                tau: self._joined(tau, rule) if tau else Adjusted(plain[rule].top1, plain[rule].confidence)
                for tau in self.taus
            }
            for rule in rules
        }

    def _best(self, branches: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """The most probable class and its probability by each rule, `[B]` each."""
        if len(branches) == 1:
            return {"single": _most_probable(branches[0])}
        first, second = branches
        mixture = first.softmax(1) * self.visual_share + second.softmax(1) * (1 - self.visual_share)
        confidence, top1 = mixture.max(dim=1)
        return {"mixture": (top1, confidence), "sum": _most_probable(first + second)}

    def _joined(self, tau: float, rule: str) -> Adjusted:
        top1, confidence = (torch.cat(column).numpy() for column in zip(*self._adjusted[tau, rule], strict=True))
        return Adjusted(top1, confidence)


def _widened(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    highest, top1 = logits.max(dim=1)
    return top1, (highest - logits.logsumexp(dim=1)).exp()
