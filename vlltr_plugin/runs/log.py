"""What a host's log says, in the same words for every host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "reweight"
"""Of the settings in a config and in a run's arguments, and of the state in its checkpoint."""

Line = dict[str, float]
"""The numbers of an epoch or of the final test, by the keys of the host's reader (`Metric.key`)."""


@dataclass(frozen=True)
class Log:
    """What a log says.

    Attributes:
        path: the file.
        epochs: epoch, from 0, to its line, in ascending order; where epochs repeat, the later line.
        test: the result on the test split after the last epoch, if there is one.
        warnings: what was left out or looks odd, one line each, with the file's name.
        abandoned: epochs after the last one, which the run had reached before it was resumed at an earlier one; None
            where the log does not tell, since each start has a log of its own.
        class_accuracy: top-1 accuracy of each class in that test, percent; empty where the log does not tell.
        reweighted: whether the run was re-weighted; None where the log does not tell.
    """

    path: Path
    epochs: dict[int, Line]
    test: Line | None
    warnings: tuple[str, ...]
    abandoned: tuple[int, ...] | None = ()
    class_accuracy: tuple[float, ...] = ()
    reweighted: bool | None = None


def shows_reweighting(epochs: Mapping[int, Line]) -> bool | None:
    """Whether the lines of a log hold numbers of the plug-in, `train_reweight_*`; None without an epoch."""
    return any(key.startswith("train_reweight_") for line in epochs.values() for key in line) if epochs else None


@dataclass(frozen=True)
class StdoutLog:
    """What a run printed of its settings and times.

    Attributes:
        path: the file.
        args: arguments of the last start that went through an epoch, or of the last of all where none did; values that
            are no plain literals are left out.
        epoch_seconds: epoch to seconds of its training pass (without validation); where a start went back to an earlier
            epoch, nothing of what came after that one before.
        training_seconds: the host's own time of the whole training; None unless one start went through all epochs.
        starts: how often the run was started.
    """

    path: Path
    args: dict[str, Any]
    epoch_seconds: dict[int, float]
    training_seconds: float | None
    starts: int
