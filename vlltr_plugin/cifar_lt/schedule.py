"""The training recipe of the authors' CIFAR code, and its short form."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

DROPS = (0.8, 0.9)
"""Fractions of the training after which the learning rate falls: epochs 160 and 180 of 200."""

NO_OTHER_RUN = ("evaluate_every", "compile")
"""Fields that change which epochs are looked at, or the order of sums, but not what is trained."""


@dataclass(frozen=True)
class Schedule:
    """SGD with Nesterov momentum; the learning rate falls to a hundredth at 80 % and again at 90 % of the epochs.

    Attributes:
        epochs: of a run.
        start_epoch: first epoch of deferred weights, from 0; by default where the learning rate first falls.
        sampler: `"uniform"` or `"sqrt"`, see `Batches`.
        mixup: parameter of mixup's Beta distribution; 0 for none.
        batch_size: B.
        evaluate_every: epochs from one test to the next; from `start_epoch` on, every epoch is tested.
        amp: bfloat16 autocast of the network.
        compile: torch.compile of the network (CUDA graphs on a GPU).
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
        """Epochs that deferred methods share: all before the one whose statistics give the first weights."""
        return max(min(self.start_epoch, self.epochs) - 1, 0)

    def rate_in(self, epoch: int) -> float:
        """The learning rate in an epoch, from 0."""
        return self.learning_rate * 0.01 ** sum(epoch >= drop for drop in self.drops)

    def evaluates(self, epoch: int) -> bool:
        """Whether the test set is looked at after an epoch."""
        last = epoch == self.epochs - 1
        return last or epoch >= self.start_epoch or (epoch + 1) % self.evaluate_every == 0

    def labels(self) -> dict[str, Any]:
        """What tells its results from others', for a line of results."""
        return {name: value for name, value in asdict(self).items() if name not in NO_OTHER_RUN}
