"""What a model predicts on a split, by every rule, kept as O(1) numbers for each image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.errors import ReportError

if TYPE_CHECKING:  # `compare` reads evaluations without torch
    from torch import Tensor

BRANCHES = ("visual", "image_text")
TWO_BRANCH_RULES = ("mixture", "sum", *BRANCHES)
"""mixture and sum are two ways to put the branches together; then each branch alone."""

ONE_BRANCH_RULES = ("single",)
TOP = 5


@dataclass(frozen=True)
class Predictions:
    """One rule on all images; arrays `[N]`.

    Attributes:
        top1: the predicted class, int64.
        in_top5: whether the label is among the five (or C, if fewer) most probable classes.
        confidence: probability of the predicted class, float64.
        cross_entropy: minus the log probability of the label, float64.
    """

    top1: NDArray[np.int64]
    in_top5: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    cross_entropy: NDArray[np.float64]


class PredictionCollector:
    """Takes the model's outputs batch by batch; nothing of size C stays.

    ```python
    collector = PredictionCollector(num_classes=1000, visual_share=0.2)
    for images, labels in loader:
        collector.add(model(images), labels)
    labels, by_rule = collector.labels(), collector.predictions()
    ```
    """

    def __init__(self, num_classes: int, visual_share: float) -> None:
        self._num_classes, self.visual_share = num_classes, visual_share
        self._labels: list[NDArray[np.int64]] = []
        self._parts: dict[str, list[tuple[NDArray[np.float64], ...]]] = {}
        self.not_finite = 0

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch.

        Raises:
            ReportError: for outputs or labels that do not fit.
        """
        import torch

        branches = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        self._check(branches, labels)
        labels = labels.to(branches[0].device)
        self.not_finite += int((~torch.stack([logits.isfinite().all(dim=1) for logits in branches]).all(dim=0)).sum())
        for rule, (ranking, log_probabilities) in self._rules(branches).items():
            # The first of equals, as argmax has it and the sweep of tau; topk promises nothing, and bfloat16 has many.
            predicted = ranking.max(dim=1, keepdim=True).indices
            top = ranking.scatter(1, predicted, math.inf).topk(min(TOP, self._num_classes), dim=1).indices
            numbers = (
                predicted[:, 0],
                (top == labels[:, None]).any(dim=1),
                log_probabilities.gather(1, predicted)[:, 0].exp(),
                -log_probabilities.gather(1, labels[:, None])[:, 0],
            )
            self._parts.setdefault(rule, []).append(tuple(number.cpu().double().numpy() for number in numbers))
        self._labels.append(labels.cpu().numpy())

    def labels(self) -> NDArray[np.int64]:
        """The labels, `[N]`, in the order they came."""
        return np.concatenate(self._labels)

    def predictions(self) -> dict[str, Predictions]:
        """By rule: `TWO_BRANCH_RULES` or `ONE_BRANCH_RULES`."""
        found = {}
        for rule, parts in self._parts.items():
            top1, in_top5, confidence, cross_entropy = (np.concatenate(column) for column in zip(*parts, strict=True))
            found[rule] = Predictions(top1.astype(np.int64), in_top5.astype(bool), confidence, cross_entropy)
        return found

    def _rules(self, branches: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """What each rule ranks the classes by, as the host computes it, and its log probabilities, in float32."""
        if len(branches) == 1:
            return {"single": (branches[0], branches[0].float().log_softmax(1))}
        first, second = branches
        share = self.visual_share
        mixture = first.float().softmax(1) * share + second.float().softmax(1) * (1 - share)
        total = first + second  # in the branches' own precision: so are the host's groups scored
        return {
            "mixture": (mixture, mixture.log()),
            "sum": (total, total.float().log_softmax(1)),
            **{name: (logits, logits.float().log_softmax(1)) for name, logits in zip(BRANCHES, branches, strict=True)},
        }

    def _check(self, branches: list[Tensor], labels: Tensor) -> None:
        expected = (len(labels), self._num_classes)
        shapes = [tuple(logits.shape) for logits in branches]
        if len(branches) not in (1, 2) or any(shape != expected for shape in shapes):
            raise ReportError(f"Expected one or two outputs of shape {list(expected)} from the model but got {shapes}.")
        if labels.ndim != 1 or labels.is_floating_point() or bool(((labels < 0) | (labels >= self._num_classes)).any()):
            raise ReportError(f"Expected one label in 0..{self._num_classes - 1} for each image.")
