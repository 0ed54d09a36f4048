"""Training of all methods on one seed's data, in one program: they share warm-up, batches and start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from frozen_tower_data import BATCH, Data
from frozen_tower_heads import Head, Parameters, picked
from frozen_tower_losses import Criteria
from frozen_tower_methods import METHODS
from torch import Tensor

TEST_ROWS = 1000


@dataclass(frozen=True)
class Recipe:
    """How a head is trained; the learning rate falls to 0 along a cosine.

    Attributes:
        epochs: of a run; deferred weights apply in the second half.
        learning_rate: at the start.
        optimizer: `"sgd"` (Nesterov, momentum 0.9) or `"adamw"`.
        weight_decay: of the optimizer.
    """

    epochs: int
    learning_rate: float
    optimizer: str = "sgd"
    weight_decay: float = 0.0

    @property
    def start_epoch(self) -> int:
        """First epoch in which deferred weights apply."""
        return self.epochs // 2


@dataclass
class Trained:
    """What a run leaves: its test logits `[M, C]` and its log radii and weights at the end, `[C]`."""

    logits: Tensor
    log_radius: Tensor
    weights: Tensor


class Training:
    """All methods of a list on one seed's data.

    Args:
        data: the seed's.
        head: which all of them train.
        recipe: how.
        names: of methods; the first is ce, whose training the deferred ones share until their weights apply.
    """

    def __init__(self, data: Data, head: Head, recipe: Recipe, names: list[str]) -> None:
        if names[0] != "ce":
            raise ValueError(f"Expected the first method to be ce but got {names[0]!r}.")
        self.data, self.head, self.recipe = data, head, recipe
        self.trained = [name for name in names if METHODS[name].form != "post_hoc"]
        self.post_hoc = [name for name in names if METHODS[name].form == "post_hoc"]
        warm_ups = [METHODS[name].warm_up for name in self.trained]
        replicas = list(dict.fromkeys(warm_ups))
        self.columns = [replicas.index(each) for each in warm_ups]
        self.rows = [warm_ups.index(each) for each in replicas]
        self.criteria, self.readers = self._criteria(self.trained), self._criteria(self.post_hoc)
        start = head.initial(data.features.shape[1], data.groups.shape[1], data.seed)
        self._use(picked(start, [0] * len(replicas)))

    def run(self) -> dict[str, Trained]:
        """Trains, and returns what each method came to."""
        for epoch in range(self.recipe.epochs):
            if epoch == self.recipe.start_epoch:
                self._fork()
            self._epoch(epoch)
        logits = self._test_logits(self.parameters)
        results = {name: self._result(self.criteria, r, logits[:, r]) for r, name in enumerate(self.trained)}
        for r, name in enumerate(self.post_hoc):
            results[name] = self._result(self.readers, r, logits[:, 0] + self.readers.margins[r])
        return results

    def _criteria(self, names: list[str]) -> Criteria:
        methods, half = [METHODS[name] for name in names], self.recipe.start_epoch
        starts = [half if method.start is None else method.start for method in methods]
        weightings = [method.build(self.data, half) for method in methods]
        return Criteria(methods, weightings, starts, self.data.smoothing)

    def _use(self, parameters: Parameters, state: dict[str, dict[str, Tensor]] | None = None) -> None:
        """Trains these parameters from now on, with what their optimizer remembers."""
        self.parameters, recipe = parameters, self.recipe
        values, options = list(parameters.values()), {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
        if recipe.optimizer == "adamw":
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(values, fused=True, **options)
        else:
            self.optimizer = torch.optim.SGD(values, momentum=0.9, nesterov=True, fused=True, **options)
        for name, kept in (state or {}).items():
            self.optimizer.state[parameters[name]] = kept

    def _fork(self) -> None:
        """Goes on with every method, each from its warm-up."""
        state = {
            name: {key: kept[self.columns] if kept.ndim else kept for key, kept in self.optimizer.state[value].items()}
            for name, value in self.parameters.items()
        }
        self._use(picked(self.parameters, self.columns), state)
        self.columns = self.rows = list(range(len(self.trained)))

    def _epoch(self, epoch: int) -> None:
        steps = len(self.data.labels) // BATCH
        for number, batch in enumerate(self.data.epoch(epoch)):
            self._set_rate((epoch + number / steps) / self.recipe.epochs)
            outputs = self.head.outputs(self.parameters, batch.features)
            loss = torch.stack([self.criteria.loss(logits, batch.targets, self.rows) for logits in outputs]).sum()
            self._observe(outputs[self.head.statistics], self.columns, batch.targets, epoch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        if epoch >= self.recipe.start_epoch - 1:
            self._observe_held_out(epoch)
        for each in (self.criteria, self.readers):
            each.end_epoch(epoch)

    def _observe(self, logits: Tensor, columns: list[int], targets: Tensor, epoch: int, held_out: bool = False) -> None:
        """Logits `[B, ., C]` of replicas, ce's the first; `columns`: which one each trained method looks at."""
        self.criteria.observe(logits, columns, targets, epoch, held_out)
        self.readers.observe(logits, [0] * len(self.post_hoc), targets, epoch, held_out)

    def _observe_held_out(self, epoch: int) -> None:
        """Runs on the test images those replicas only whose methods ask for it."""
        asked = [method.held_out for method in self.criteria.methods]
        if any(asked) or any(method.held_out for method in self.readers.methods):
            rows = sorted({0} | {column for column, wanted in zip(self.columns, asked, strict=True) if wanted})
            logits = self._test_logits(picked(self.parameters, rows), self.head.statistics)
            columns = [rows.index(column) if wanted else 0 for column, wanted in zip(self.columns, asked, strict=True)]
            self._observe(logits, columns, self.data.test_labels, epoch, held_out=True)

    def _set_rate(self, done: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * (1 + math.cos(math.pi * done)) / 2

    @torch.no_grad()
    def _test_logits(self, parameters: Parameters, branch: int | None = None) -> Tensor:
        """Logits of the test images `[M, R, C]`: of one branch, or the sum of all."""
        parts = []
        for rows in self.data.test_features.split(TEST_ROWS):
            outputs = self.head.outputs(parameters, rows)
            parts.append(torch.stack(outputs).sum(dim=0) if branch is None else outputs[branch])
        return torch.cat(parts)

    @staticmethod
    def _result(criteria: Criteria, row: int, logits: Tensor) -> Trained:
        weighting = criteria.weightings[row]
        return Trained(logits, weighting.log_radius, weighting.weights)
