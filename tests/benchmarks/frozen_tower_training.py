"""Training of all methods on one seed's data, in one program: they share warm-up, batches and start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frozen_tower_data import BATCH, Data
from frozen_tower_heads import Head, Parameters, picked
from frozen_tower_losses import Criteria
from frozen_tower_methods import METHODS

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
        self.from_start = [name for name in self.trained if name == "ce" or not METHODS[name].deferred]
        self.criteria, self.readers = self._criteria(self.trained), self._criteria(self.post_hoc)
        self.early = self._criteria(self.from_start)
        start = head.initial(data.features.shape[1], data.groups.shape[1], data.seed)
        self._use(picked(start, [0] * len(self.from_start)))

    def run(self) -> dict[str, Trained]:
        """Trains, and returns what each method came to."""
        for epoch in range(self.recipe.start_epoch):
            self._epoch(self.early, epoch, shared=True)
        self._fork()
        for epoch in range(self.recipe.start_epoch, self.recipe.epochs):
            self._epoch(self.criteria, epoch)
        logits = self._test_logits(self.parameters)
        results = {name: self._result(self.criteria, r, logits[:, r]) for r, name in enumerate(self.trained)}
        for r, name in enumerate(self.post_hoc):
            results[name] = self._result(self.readers, r, logits[:, 0] + self.readers.margins[r])
        return results

    def _criteria(self, names: list[str]) -> Criteria | None:
        if not names:
            return None
        methods, data = [METHODS[name] for name in names], self.data
        start = self.recipe.start_epoch
        weightings = [method.build(data.class_counts, data.draws, start, data.seed) for method in methods]
        return Criteria(methods, weightings, data.smoothing)

    def _use(self, parameters: Parameters, state: dict[str, dict[str, Tensor]] | None = None) -> None:
        """Trains these parameters from now on, with what their optimizer remembers."""
        self.parameters, recipe = parameters, self.recipe
        values = list(parameters.values())
        if recipe.optimizer == "adamw":
            adamw = torch.optim.AdamW
            self.optimizer: torch.optim.Optimizer = adamw(values, recipe.learning_rate, weight_decay=recipe.weight_decay)
        else:
            sgd = torch.optim.SGD
            self.optimizer = sgd(
                values, recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
            )
        for name, kept in (state or {}).items():
            self.optimizer.state[parameters[name]] = kept

    def _fork(self) -> None:
        """Goes on with every method, the deferred ones as copies of ce."""
        rows = [self.from_start.index(name) if name in self.from_start else 0 for name in self.trained]
        state = {
            name: {key: kept[rows].clone() if kept.ndim else kept.clone() for key, kept in self.optimizer.state[value].items()}
            for name, value in self.parameters.items()
        }
        self._use(picked(self.parameters, rows), state)

    def _epoch(self, criteria: Criteria, epoch: int, shared: bool = False) -> None:
        """One epoch; with `shared`, the deferred methods look at ce's logits."""
        observes = epoch >= self.recipe.start_epoch - 1
        steps = len(self.data.labels) // BATCH
        for number, batch in enumerate(self.data.epoch(epoch)):
            self._set_rate((epoch + number / steps) / self.recipe.epochs)
            outputs = self.head.outputs(self.parameters, batch.features)
            loss = torch.stack([criteria.loss(logits, batch.targets) for logits in outputs]).sum()
            if observes:
                self._observe(outputs[self.head.statistics], batch.targets, shared)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        if observes:
            self._observe_held_out(shared)
        for each in (self.criteria, self.readers, self.early):
            if each is not None:
                each.end_epoch(epoch, observes)

    def _observe(self, logits: Tensor, targets: Tensor, shared: bool, held_out: bool = False) -> None:
        self.criteria.observe(logits[:, :1] if shared else logits, targets, held_out)
        if self.readers is not None:
            self.readers.observe(logits[:, :1], targets, held_out)

    def _observe_held_out(self, shared: bool) -> None:
        """Only the replicas that ask for it are run on the test images; the others' columns stand in for ce's."""
        wanted = [r for r, method in enumerate(self.criteria.methods) if method.held_out and not shared]
        asked = [method.held_out for each in (self.criteria, self.readers) if each for method in each.methods]
        if any(asked):
            parameters = {name: value.detach()[[0, *wanted]] for name, value in self.parameters.items()}
            column = {r: position for position, r in enumerate(wanted, start=1)}
            columns = [column.get(r, 0) for r in range(len(self.trained))]
            logits = self._test_logits(parameters, self.head.statistics)[:, columns]
            self._observe(logits, self.data.test_labels, shared, held_out=True)

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
