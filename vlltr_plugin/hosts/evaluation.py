"""A host's trained model, open for an evaluation: what `report/evaluate` asks of a host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # `compare` reads logs without torch
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with the images done and in all, after each batch."""


@dataclass(frozen=True)
class EvaluateRequest:
    """What `vlltr-plugin evaluate` asks of a host.

    Attributes:
        checkpoint: the file, or the run's folder.
        config: the host's config that it was trained with; None takes the one that the checkpoint names.
        checkout: the host's folder.
        split: `"val"` or `"test"`; None takes the one that the config makes the host report.
        device: None takes CUDA where there is some.
        batch_size: None takes the host's for evaluation.
        limit: evaluate this many images, evenly spaced over the split.
        host_args: further arguments of the host's command line.
    """

    checkpoint: Path
    config: Path | None = None
    checkout: Path = Path()
    split: str | None = None
    device: str | None = None
    batch_size: int | None = None
    limit: int | None = None
    host_args: tuple[str, ...] = ()


class Collector(Protocol):
    """Takes a model's outputs batch by batch."""

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch: logits `[B, C]`, or those of two outputs; labels `[B]`."""


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint's model with its data, open while the host's code can be run.

    Attributes:
        split: the split to evaluate.
        classes: C.
        train_counts: training images of each class, `[C]`.
        draws: expected draws of each class in an epoch of its training, `[C]`, up to a common factor; None if they are
            not known.
        draws_from: where they are known from, in words.
        names: the classes' names, if known.
        facts: what evaluation.json says of checkpoint, config, data set and settings.
        predict: feeds a split to a collector; returns the number of images in the split.
        outputs: names of the model's two outputs; empty if it has one.
        first_share: part of the first of two outputs in the mixture of their softmaxes.
        host_log: from labels and predicted classes, `[N]` each, the numbers of the host's own result by the keys of its
            log; None where those of `evaluate_predictions` are.
    """

    split: str
    classes: int
    train_counts: NDArray[np.int64]
    draws: NDArray[np.float64] | None
    draws_from: str
    names: list[str] | None
    facts: dict[str, Any]
    predict: Callable[[Collector, str], int]
    outputs: tuple[str, ...] = ()
    first_share: float = 0.0
    host_log: Callable[[NDArray[np.int64], NDArray[np.int64]], dict[str, float | None]] | None = None


OpenTrained = Callable[[EvaluateRequest, Progress], AbstractContextManager[TrainedModel]]
