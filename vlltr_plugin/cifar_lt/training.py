"""The recipe of the authors' CIFAR code, and the training of a method with one or several seeds in lockstep."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.cifar_lt.batches import Batch, Batches
from vlltr_plugin.cifar_lt.methods import Method
from vlltr_plugin.cifar_lt.network import ResNet32, influence_factors

DROPS = (0.8, 0.9)  # fractions of the training after which the learning rate falls: epochs 160 and 180 of 200
NO_OTHER_RUN = ("evaluate_every", "compile")
"""Fields that do not identify a run: which epochs are tested, and the order of sums."""

SIGMOID_BASES = ("sigmoid", "focal")


@dataclass(frozen=True)
class Schedule:
    """SGD with Nesterov momentum; the learning rate falls to a hundredth at 80 % and again at 90 % of the epochs.

    `start_epoch` is the first epoch of deferred weights, from 0; by default where the learning rate first falls. From
    there on every epoch is tested, before it each `evaluate_every`-th. `amp` is bfloat16 autocast of the network.
    """

    epochs: int = 200
    start_epoch: int = -1
    sampler: str = "uniform"
    mixup: float = 0.0
    batch_size: int = 100
    evaluate_every: int = 1
    amp: bool = False
    compile: bool = False

    learning_rate = 0.1
    momentum = 0.9
    weight_decay = 5e-4

    def __post_init__(self) -> None:
        if self.start_epoch < 0:
            object.__setattr__(self, "start_epoch", self.drops[0])
        for name in ("epochs", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} to be 1 or more but got {getattr(self, name)}.")
        if not 0 <= self.mixup < math.inf:
            raise ValueError(f"Expected mixup to be 0 or more but got {self.mixup:g}.")

    @property
    def drops(self) -> tuple[int, ...]:
        """Epochs from which the learning rate is lower."""
        return tuple(round(self.epochs * fraction) for fraction in DROPS)

    @property
    def warm_up(self) -> int:
        """Number of epochs that deferred methods share: those before the epoch that gives the first statistics."""
        return max(min(self.start_epoch, self.epochs) - 1, 0)

    def rate_in(self, epoch: int) -> float:
        """The learning rate in an epoch, from 0."""
        return self.learning_rate * 0.01 ** sum(epoch >= drop for drop in self.drops)

    def evaluates(self, epoch: int) -> bool:
        """True if an epoch is tested."""
        last = epoch == self.epochs - 1
        return last or epoch >= self.start_epoch or (epoch + 1) % self.evaluate_every == 0

    def labels(self) -> dict[str, Any]:
        """The recipe, for a line of results."""
        return {name: value for name, value in asdict(self).items() if name not in NO_OTHER_RUN}


class Training:
    """S independent replicas of a method, one per seed, trained in one program.

    `epoch` is the next to train, from 0; `curve` has `(epoch, test error in percent)` of the epochs tested, for each
    replica; `weights` are those of the last epoch trained, float32 `[S, C]`; `seconds` those of all replicas together.
    """

    def __init__(self, batches: Batches, method: Method, schedule: Schedule, seeds: list[int]) -> None:
        self.batches, self.method, self.schedule, self.seeds = batches, method, schedule, seeds
        cosine, prior = method.base == "ldam", method.base in SIGMOID_BASES
        cuda = batches.device.type == "cuda"
        # cuDNN's grouped convolutions are slow with channels last.
        self._layout = torch.contiguous_format if cuda and len(seeds) > 1 else torch.channels_last
        model = ResNet32(batches.num_classes, seeds, cosine, prior)
        self.model = model.to(batches.device, memory_format=self._layout)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            nesterov=True,
            fused=cuda or None,
        )
        self.criteria = [method.criterion(batches.class_counts, batches.draws, schedule.start_epoch) for _ in seeds]
        for criterion in self.criteria:
            criterion.to(batches.device)
        mode = "reduce-overhead" if cuda else None
        self._network = torch.compile(self.model, mode=mode, dynamic=False) if schedule.compile else self.model
        self.epoch = 0
        self.curve: list[list[tuple[int, float]]] = [[] for _ in seeds]
        self.weights = torch.ones(len(seeds), batches.num_classes, dtype=torch.float32)
        self.seconds = 0.0

    def train(self) -> None:
        """Trains one epoch, and tests where the recipe says so."""
        started = time.perf_counter()
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_in(self.epoch)
        for batch in self.batches.epoch(self.seeds, self.epoch):
            loss = self._loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.weights = torch.stack([criterion.weighting.weights.cpu() for criterion in self.criteria])
        for criterion in self.criteria:
            if self._observes:
                criterion.end_epoch(self.epoch)
            else:
                criterion.weighting.begin_epoch(self.epoch + 1)
        if self.schedule.evaluates(self.epoch):
            self._test()
        self.epoch += 1
        self.seconds += time.perf_counter() - started

    def state(self) -> dict[str, Any]:
        """Everything needed to resume after `epoch`, safe to load."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "weightings": [criterion.weighting.state_dict() for criterion in self.criteria],
            "epoch": self.epoch,
            "curve": self.curve,
            "weights": self.weights,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any], weightings: bool = True) -> None:
        """Resumes from a state; ignores its weightings if it is another method's warm-up."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.weights = state["weights"]
        self.curve = [list(map(tuple, curve)) for curve in state["curve"]]
        for criterion, saved in zip(self.criteria, state["weightings"], strict=True):
            if weightings:
                criterion.weighting.load_state_dict(saved)
            else:
                criterion.weighting.begin_epoch(self.epoch)

    @property
    def _observes(self) -> bool:
        """True if the statistics of this epoch's logits are needed."""
        return self.epoch >= self.schedule.start_epoch - 1

    def _outputs(self, images: Tensor, network: Any) -> tuple[Tensor, Tensor]:
        """Logits `[S, B, C]` and feature norms `[S, B]`, float32."""
        with torch.autocast(self.batches.device.type, torch.bfloat16, enabled=self.schedule.amp):
            outputs: tuple[Tensor, Tensor] = network(images.contiguous(memory_format=self._layout))
        return outputs

    def _loss(self, batch: Batch) -> Tensor:
        """The sum of the replicas' losses, so that a replica's gradient does not depend on their number."""
        # An epoch's last batch is smaller and not worth a separate compilation.
        network = self._network if len(batch.images) == self.batches.batch_size else self.model
        influence = self.method.influence and self.epoch >= self.schedule.start_epoch
        means = []
        for criterion, logits, norms, targets in zip(
            self.criteria, *self._outputs(batch.images, network), batch.targets, strict=True
        ):
            if self._observes:
                criterion.observe(logits, targets)
            losses = criterion.losses(logits, targets)
            if influence:
                losses = losses * influence_factors(logits, targets, norms)
            means.append(losses.mean())
        return torch.stack(means).sum()

    @torch.no_grad()
    def test_logits(self) -> Tensor:
        """Logits of the test images, float32 `[S, M, C]`, before any adjustment."""
        self.model.eval()
        batches = self.batches.test(len(self.seeds))
        return torch.cat([self._outputs(images, self.model)[0] for images in batches], dim=1)

    def adjusted(self, logits: Tensor) -> Tensor:
        """Logits with the method's own adjustment after training."""
        return logits - self.method.adjust * self.batches.class_counts.double().log().float().to(logits.device)

    def _test(self) -> None:
        predicted = self.adjusted(self.test_logits()).argmax(dim=2)
        wrong = (predicted != self.batches.test_labels).double().mean(dim=1) * 100
        for curve, error in zip(self.curve, wrong.tolist(), strict=True):
            curve.append((self.epoch, round(error, 4)))
