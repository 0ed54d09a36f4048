"""Notices batches that do not fit what was declared: a forgotten `end_epoch`, counts or draws of other data."""

import sys
import warnings
import weakref
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import listed
from vlltr_plugin.core.batch import Batch
from vlltr_plugin.core.ranks import world_size
from vlltr_plugin.core.weighting import Weighting

FORGOTTEN_AFTER = 3
"""Epochs' worth of samples without an `end_epoch`."""

ENOUGH = 0.9
"""Of an epoch's samples: with fewer, what was drawn is not judged."""

TOO_FAR = 0.1
"""Share of the samples that came in other classes than declared (total variation distance), beyond chance."""


class Expectations:
    """What one criterion may expect of its batches; says once what does not fit, and waits for no GPU in a step.

    Args:
        weighting: whose `class_counts` and `draws` were declared.
    """

    _last: weakref.ref[Tensor] | None = None
    _last_pass: tuple[int | None, int]

    def __init__(self, weighting: Weighting) -> None:
        # A tuple, so that it is no submodule or buffer of whatever holds this.
        self._weighting = (weighting,)
        self._epoch_samples = float(weighting.class_counts.sum())
        self._samples = 0
        self._epoch = weighting.epoch
        self._said: set[str] = set()

    def logits_come(self, logits: Tensor) -> None:
        """Takes note of a training pass; a warning when the logits of the one before come again."""
        if torch.compiler.is_compiling():
            return
        # CUDA graphs give one tensor in every pass: the autograd node, of a parameter the version, tell them apart.
        this_pass = None if logits.grad_fn is None else logits.grad_fn._sequence_nr(), logits._version
        if self._last is not None and self._last() is logits and self._last_pass == this_pass:
            self._say(
                "twice",
                "Expected every batch once but the same logits came twice in a row: each of their images counts once "
                "more, whatever the loss is multiplied by. Give mixed targets in one call, float [B, C]: lam * "
                "one_hot(a) + (1 - lam) * one_hot(b). For a loss that is only shown take criterion.losses(logits, "
                "targets).mean().",
            )
        self._last, self._last_pass = weakref.ref(logits), this_pass

    def begins_epoch(self) -> bool:
        """Whether this batch is the first of an epoch that another than the criterion has ended."""
        weighting = self._weighting[0]
        if torch.compiler.is_compiling() or self._epoch == weighting.epoch:
            return False
        self._epoch, self._samples = weighting.epoch, 0
        return True

    def count(self, batch: Batch) -> None:
        """Counts a batch of this rank; a warning when three epochs' worth came without an `end_epoch`.

        Not under `torch.compile`, where a number of Python's would compile anew in every step, and not where ignored
        elements stay in the batch (on a GPU).
        """
        if torch.compiler.is_compiling() or batch.rows_kept is not None:
            return
        self._samples += len(batch.targets)
        weighting = self._weighting[0]
        changes = weighting.uses_logits or weighting.epoch < weighting.start_epoch
        if changes and self._samples * world_size() > FORGOTTEN_AFTER * self._epoch_samples:
            self._say(
                "forgotten",
                f"Expected criterion.end_epoch() after each epoch but {self._samples} samples came without it here "
                f"(class_counts count {self._epoch_samples:.0f}): the class weights change there only, and are "
                f"still those of epoch {weighting.epoch}. Call it once an epoch, on every rank (where a callback calls "
                "it after each pass over the data and they are endless: give it steps_per_epoch).",
            )

    def forget(self) -> None:
        """Begins counting again."""
        self._epoch, self._samples, self._last = self._weighting[0].epoch, 0, None

    def start_anew(self, drawn: Tensor) -> None:
        """Starts an epoch; a warning when the one before drew other classes than declared.

        Args:
            drawn: how many samples of each class came on all ranks, float64 `[C]`.
        """
        weighting = self._weighting[0]
        self.forget()
        if came := other_draws(drawn, weighting.draws, self._epoch_samples):
            self._say(
                "other draws",
                f"Expected the samples that class_counts (or draws) declare but others came: {came}. Give the "
                "class_counts of this training set, torch.bincount(labels, minlength=C), and with a sampler that is "
                "not uniform draws=[samples of each class that it draws in an epoch].",
            )

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_last": None}

    def _say(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(message, stacklevel=_of_the_loop())


def other_draws(drawn: Tensor, draws: Tensor, epoch_samples: float) -> str | None:
    """What came in other classes than declared, in words; None where it fits, or too little came to tell.

    Args:
        drawn: how many samples of each class came, float64 `[C]`.
        draws: expected draws m_i, `[C]`.
        epoch_samples: samples of an epoch.
    """
    total = float(drawn.sum())
    if total < ENOUGH * epoch_samples or total <= 0:
        return None
    expected = total * (draws / draws.sum())
    surplus = drawn - expected
    distance = float(surplus.abs().sum()) / (2 * total)
    chance = float(expected.sqrt().sum()) / (2 * total)
    if distance <= TOO_FAR + chance:
        return None
    most = int((surplus / (expected + 1)).argmax())
    classes = ((surplus > expected) & (surplus > 3 * (expected + 1).sqrt())).nonzero().flatten().tolist()
    named = f", most of all classes {listed(classes)}" if len(classes) > 1 else ""
    return f"of class {most} {float(drawn[most]):.0f} instead of {float(expected[most]):.0f}{named}"


def _of_the_loop() -> int:
    """The stack level, seen from `_say`, of the first caller that is neither this package nor torch."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("vlltr_plugin", "torch"):
        level, frame = level + 1, frame.f_back
    return level
