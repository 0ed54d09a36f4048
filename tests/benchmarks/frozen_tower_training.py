"""Training of all methods on one seed's data, in one program: they share warm-up, batches and start."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from frozen_tower_data import BATCH, Data
from frozen_tower_heads import Head, Parameters, picked
from frozen_tower_methods import METHODS
from torch import Tensor

from vlltr_plugin.core.batch import unsmoothed

TEST_ROWS = 1000
MANY = 1e9
"""Images of a class, more than ever come."""


@dataclass(frozen=True)
class Recipe:
    """How a head is trained; the learning rate falls to 0 along a cosine."""

    epochs: int
    learning_rate: float
    optimizer: str = "sgd"  # (Nesterov, momentum 0.9) or "adamw"
    weight_decay: float = 0.0

    @property
    def start_epoch(self) -> int:
        """First epoch in which deferred weights apply."""
        return self.epochs // 2


class Trained(NamedTuple):
    """What a run leaves: its test logits `[M, C]` and its log radii and weights at the end, `[C]`."""

    logits: Tensor
    log_radius: Tensor
    weights: Tensor


class Criteria:
    """The losses of R methods over logits that share a batch: the product's two criteria, vectorised."""

    def __init__(self, names: list[str], data: Data, half: int) -> None:
        self.methods, self.smoothing = [METHODS[name] for name in names], data.smoothing
        self.starts = [half if method.start is None else method.start for method in self.methods]
        self.weightings = [method.build(data, half) for method in self.methods]
        for weighting in self.weightings:
            weighting.update_margins()
        self.refresh()

    def refresh(self) -> None:
        """Takes what is in force: `scales` and `margins`, `[R, C]`."""
        scales, margins = [], []
        for method, weighting in zip(self.methods, self.weightings, strict=True):
            as_margin, ones = method.form != "weights", torch.ones_like(weighting.weights)
            scales.append(ones if as_margin else weighting.weights)
            margins.append(method.tau * weighting.margins.float() if as_margin else 0 * ones)
        self.scales, self.margins = torch.stack(scales), torch.stack(margins)

    def loss(self, logits: Tensor, targets: Tensor, rows: list[int]) -> Tensor:
        """The sum of the batch means of some methods: logits `[B, R, C]` hold those of method `rows[i]` in column i."""
        scales = self.scales[rows]
        gains = torch.log_softmax(logits - self.margins[rows], dim=2)
        if targets.is_floating_point():
            weighted = unsmoothed(targets, self.smoothing)[:, None] / (1 - self.smoothing) * scales
            label_weights = weighted * (1 - self.smoothing) + self.smoothing * weighted.mean(dim=2, keepdim=True)
            return -(label_weights * gains).sum() / len(targets)
        own = gains.gather(2, targets[:, None, None].expand(-1, gains.shape[1], 1)).squeeze(2)
        smooth = (1 - self.smoothing) * own + self.smoothing * gains.mean(dim=2)
        return -(scales[:, targets].T * smooth).sum() / len(targets)

    def observe(self, logits: Tensor, columns: list[int], targets: Tensor, epoch: int, held_out: bool = False) -> None:
        """Feeds logits `[B, ., C]`, of each method its column, to those that learn their radii from such images."""
        logits = logits.detach()
        for row, (column, method) in enumerate(zip(columns, self.methods, strict=True)):
            if method.held_out == held_out and self._learns(row, epoch):
                self.weightings[row].observe(logits[:, column], targets, 0.0 if held_out else self.smoothing)

    def _learns(self, row: int, epoch: int) -> bool:
        """Whether a method takes its radii from an epoch: from the one before its weights apply on."""
        return self.weightings[row].uses_logits and epoch >= self.starts[row] - 1

    def end_epoch(self, epoch: int) -> None:
        """Folds what was observed into the weights of the next epoch."""
        for row, weighting in enumerate(self.weightings):
            if self._learns(row, epoch):
                counts = weighting.class_counts
                if self.methods[row].held_out:  # of test images each comes once, however few training images there are
                    weighting.class_counts = torch.full_like(counts, MANY)
                weighting.end_epoch(epoch)
                weighting.class_counts = counts
            weighting.begin_epoch(epoch + 1)
        self.refresh()


class Training:
    """Methods by name on one seed's data; the first is ce, whose training the deferred ones share until they start."""

    def __init__(self, data: Data, head: Head, recipe: Recipe, names: list[str]) -> None:
        if names[0] != "ce":
            raise ValueError(f"Expected the first method to be ce but got {names[0]!r}.")
        self.data, self.head, self.recipe = data, head, recipe
        self.names = sorted(names, key=lambda name: METHODS[name].form == "post_hoc")  # after those that are trained
        self.criteria = Criteria(self.names, data, recipe.start_epoch)
        warm_ups = [method.warm_up for method in self.criteria.methods if method.form != "post_hoc"]
        self.trained, replicas = len(warm_ups), list(dict.fromkeys(warm_ups))
        self._look_at([replicas.index(each) for each in warm_ups], [warm_ups.index(each) for each in replicas])
        start = head.initial(data.features.shape[1], data.groups.shape[1], data.seed)
        self._use(picked(start, [0] * len(replicas)))

    def run(self) -> dict[str, Trained]:
        """Trains, and returns what each method came to."""
        for epoch in range(self.recipe.epochs):
            if epoch == self.recipe.start_epoch:
                self._fork()
            self._epoch(epoch)
        logits, found = self._test_logits(self.parameters), {}
        for row, (name, weighting) in enumerate(zip(self.names, self.criteria.weightings, strict=True)):
            own = logits[:, row] if row < self.trained else logits[:, 0] + self.criteria.margins[row]
            found[name] = Trained(own, weighting.log_radius, weighting.weights)
        return found

    def _look_at(self, columns: list[int], rows: list[int]) -> None:
        """Of each method the replica that it looks at (post-hoc: ce's), of each replica the method that trains it."""
        self.columns, self.rows = columns + [0] * (len(self.names) - self.trained), rows

    def _use(self, parameters: Parameters, state: dict[str, dict[str, Tensor]] | None = None) -> None:
        """Trains these parameters from now on, with what their optimizer remembers."""
        self.parameters, recipe = parameters, self.recipe
        options = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
        if recipe.optimizer == "sgd":
            options |= {"momentum": 0.9, "nesterov": True}
        rule = torch.optim.SGD if recipe.optimizer == "sgd" else torch.optim.AdamW
        self.optimizer = rule(list(parameters.values()), **options)
        for name, kept in (state or {}).items():
            self.optimizer.state[parameters[name]] = kept

    def _fork(self) -> None:
        """Goes on with every method, each from its warm-up."""
        columns, own = self.columns[: self.trained], list(range(self.trained))
        state = {
            name: {key: kept[columns] if kept.ndim else kept for key, kept in self.optimizer.state[value].items()}
            for name, value in self.parameters.items()
        }
        self._use(picked(self.parameters, columns), state)
        self._look_at(own, own)

    def _epoch(self, epoch: int) -> None:
        steps = len(self.data.labels) // BATCH
        for number, batch in enumerate(self.data.epoch(epoch)):
            done = (epoch + number / steps) / self.recipe.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * (1 + math.cos(math.pi * done)) / 2
            outputs = self.head.outputs(self.parameters, batch.features)
            loss = torch.stack([self.criteria.loss(logits, batch.targets, self.rows) for logits in outputs]).sum()
            self.criteria.observe(outputs[self.head.statistics], self.columns, batch.targets, epoch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        if epoch >= self.recipe.start_epoch - 1:
            self._observe_held_out(epoch)
        self.criteria.end_epoch(epoch)

    def _observe_held_out(self, epoch: int) -> None:
        """Runs on the test images those replicas only whose methods ask for it."""
        asked = [method.held_out for method in self.criteria.methods]
        if any(asked):
            columns = [column if wanted else 0 for column, wanted in zip(self.columns, asked, strict=True)]
            rows = sorted({0, *columns})
            logits = self._test_logits(picked(self.parameters, rows), self.head.statistics)
            labels, columns = self.data.test_labels, [rows.index(column) for column in columns]
            self.criteria.observe(logits, columns, labels, epoch, held_out=True)

    @torch.no_grad()
    def _test_logits(self, parameters: Parameters, branch: int | None = None) -> Tensor:
        """Logits of the test images `[M, R, C]`: of one branch, or the sum of all."""
        parts = []
        for rows in self.data.test_features.split(TEST_ROWS):
            outputs = self.head.outputs(parameters, rows)
            parts.append(torch.stack(outputs).sum(dim=0) if branch is None else outputs[branch])
        return torch.cat(parts)
