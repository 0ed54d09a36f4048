"""A model's predictions on a set of images, as trained and with tau times the log prior subtracted from its logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.tradeoff.spans import between_margins, right_between

if TYPE_CHECKING:  # `compare` reads evaluations without torch
    from torch import Tensor

TOP = 5
MIXTURE_TAUS = tuple(0.25 * step for step in range(-16, 33))
"""Taus at which the mixture of softmaxes is evaluated; unlike the other rules, it has no closed form between them."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """One rule on N images; `swept` holds the predicted class and its probability at each tau other than 0."""

    top1: Ints
    in_top5: NDArray[np.bool_]  # True if the label is among the five (or C, if fewer) most probable classes
    confidence: Floats  # probability of the predicted class
    cross_entropy: Floats  # minus the log probability of the label
    swept: dict[float, tuple[Ints, Floats]] = field(default_factory=dict)
    right: Floats | None = None  # the taus between which each image is classified correctly, `[2, N]`; see spans.py

    def at(self, tau: float) -> tuple[Ints, Floats]:
        """Predicted class and its probability at a tau."""
        return self.swept[tau] if tau else (self.top1, self.confidence)


class PredictionCollector:
    """Collects predictions batch by batch; keeps nothing of size C.

    A model with one output has the rule `single`. One with two `outputs` has `mixture` (of the softmaxes, `first_share`
    of the first one), `sum` (of the logits), and each output under its name.

    Logits are adjusted as in Menon et al., ICLR 2021, Eq. 9, by the ascending `taus`: `logits - tau * log_prior`; None
    adjusts nothing. Each of two outputs is adjusted, as each was trained under that prior, and then mixed or summed. At
    tau 0 nothing is subtracted.
    """

    def __init__(
        self,
        num_classes: int,
        taus: Sequence[float] = (0.0,),
        log_prior: Floats | None = None,
        outputs: Sequence[str] = (),
        first_share: float = 0.0,
    ) -> None:
        self._num_classes, self.taus, self._prior = num_classes, tuple(taus), log_prior
        self._outputs, self.first_share = outputs, first_share
        self._labels: list[Ints] = []
        self._parts: dict[str, list[dict[str, NDArray[Any]]]] = {}
        self.not_finite = 0

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch; raises a ReportError for outputs or labels that do not fit."""
        import torch

        each = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        expected, shapes = (len(labels), self._num_classes), [tuple(logits.shape) for logits in each]
        if len(each) != (len(self._outputs) or 1) or any(shape != expected for shape in shapes):
            number = "two outputs" if self._outputs else "one output"
            raise ReportError(f"Expected {number} of shape {list(expected)} from the model but got {shapes}.")
        if labels.ndim != 1 or labels.is_floating_point() or bool(((labels < 0) | (labels >= self._num_classes)).any()):
            raise ReportError(f"Expected one label in 0..{self._num_classes - 1} for each image.")
        labels = labels.to(each[0].device)
        self.not_finite += int((~torch.stack([logits.isfinite().all(dim=1) for logits in each]).all(dim=0)).sum())
        found = {rule: self._unadjusted(*of, labels) for rule, of in self._rules(each).items()}
        if self._prior is not None:
            wide = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in each]
            for more in (self._right_between(wide, labels, self._prior), self._adjusted(wide, self._prior)):
                for rule, numbers in more.items():
                    found[rule] |= numbers
        for rule, numbers in found.items():
            self._parts.setdefault(rule, []).append(numbers)
        self._labels.append(labels.cpu().numpy())

    def labels(self) -> Ints:
        """The labels, `[N]`, in the order they came."""
        return np.concatenate(self._labels)

    def predictions(self) -> dict[str, Predictions]:
        """The predictions of each rule."""
        found = {}
        for rule, parts in self._parts.items():
            numbers = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
            top1, confidence = numbers.pop("swept_top1", ()), numbers.pop("swept_confidence", ())
            swept = dict(zip(filter(None, self.taus), zip(top1, confidence, strict=True), strict=False))
            found[rule] = Predictions(swept=swept, **numbers)
        return found

    def _unadjusted(self, ranking: Tensor, log_probabilities: Tensor, labels: Tensor) -> dict[str, NDArray[Any]]:
        # The first of equal logits, as in argmax; topk does not guarantee that, and bfloat16 has many equal logits.
        predicted = ranking.max(dim=1, keepdim=True).indices
        top = ranking.scatter(1, predicted, math.inf).topk(min(TOP, self._num_classes), dim=1).indices
        return {
            "top1": predicted[:, 0].cpu().numpy(),
            "in_top5": (top == labels[:, None]).any(dim=1).cpu().numpy(),
            "confidence": log_probabilities.gather(1, predicted)[:, 0].exp().cpu().double().numpy(),
            "cross_entropy": (-log_probabilities.gather(1, labels[:, None])[:, 0]).cpu().double().numpy(),
        }

    def _rules(self, outputs: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """For each rule the class scores, as the host computes them, and the log probabilities, in float32."""
        if len(outputs) == 1:
            return {"single": (outputs[0], outputs[0].float().log_softmax(1))}
        mixture = self._mixture([logits.float() for logits in outputs])
        total = outputs[0] + outputs[1]  # in the outputs' own precision, as the host's groups are computed
        named = {"sum": total, **dict(zip(self._outputs, outputs, strict=True))}
        return {
            "mixture": (mixture, mixture.log()),
            **{name: (logits, logits.float().log_softmax(1)) for name, logits in named.items()},
        }

    def _mixture(self, outputs: list[Tensor]) -> Tensor:
        first, second = outputs
        return first.softmax(1) * self.first_share + second.softmax(1) * (1 - self.first_share)

    def _right_between(
        self, outputs: list[Tensor], labels: Tensor, prior: Floats
    ) -> dict[str, dict[str, NDArray[Any]]]:
        """For each rule the taus between which each image is classified correctly."""
        import torch

        on_cpu = labels.cpu().numpy()
        if len(outputs) == 1:
            return {"single": {"right": right_between(outputs[0].cpu().numpy(), on_cpu, prior)}}
        log_prior, rows = torch.from_numpy(prior).to(outputs[0]), []
        for tau in MIXTURE_TAUS:
            mixture = self._mixture([logits - tau * log_prior for logits in outputs]).log_()
            own = mixture.gather(1, labels[:, None])[:, 0]
            rows.append((own - mixture.scatter_(1, labels[:, None], -torch.inf).amax(dim=1)).cpu().double().numpy())
        return {
            "mixture": {"right": between_margins(np.stack(rows), np.array(MIXTURE_TAUS))},
            "sum": {"right": right_between((outputs[0] + outputs[1]).cpu().numpy(), on_cpu, 2 * prior)},
        }

    def _adjusted(self, outputs: list[Tensor], prior: Floats) -> dict[str, dict[str, NDArray[Any]]]:
        """For each rule the most probable class and its probability at each tau except 0, `[T, B]`."""
        import torch

        log_prior = torch.from_numpy(prior).to(outputs[0])
        adjusted = [torch.empty_like(logits) for logits in outputs]  # one buffer for all taus
        columns: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for tau in filter(None, self.taus):
            for logits, own in zip(outputs, adjusted, strict=True):
                torch.sub(logits, tau * log_prior, out=own)
            if len(adjusted) == 1:
                columns.setdefault("single", []).append(_most_probable(adjusted[0]))
            else:
                confidence, top1 = self._mixture(adjusted).max(dim=1)
                columns.setdefault("mixture", []).append((top1, confidence))
                columns.setdefault("sum", []).append(_most_probable(adjusted[0].add_(adjusted[1])))
        found = {}
        for rule, pairs in columns.items():
            top1, confidence = (torch.stack(column).cpu() for column in zip(*pairs, strict=True))
            found[rule] = {"swept_top1": top1.numpy(), "swept_confidence": confidence.double().numpy()}
        return found


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted class and its probability; overwrites the logits."""
    top1 = logits.argmax(dim=1)
    highest = logits.gather(1, top1[:, None])
    return top1, logits.sub_(highest).exp_().sum(dim=1).reciprocal()
