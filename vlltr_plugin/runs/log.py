"""The contents of a run's log, in the same form for every host."""

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
    """What a log says."""

    path: Path
    epochs: dict[int, Line]
    """Epoch, from 0, to its line, in ascending order; where epochs repeat, the later line."""
    test: Line | None
    """The result on the test split after the last epoch, if there is one."""
    warnings: tuple[str, ...]
    """What was left out or looks odd, one line each, with the file's name."""
    abandoned: tuple[int, ...] | None = ()
    """Epochs discarded because the run resumed from an earlier one; None where each start has a log of its own."""
    class_accuracy: tuple[float, ...] = ()
    """Top-1 accuracy of each class in that test, percent; empty where it is not known."""
    reweighted: bool | None = None
    """Whether the run was re-weighted; None where it is not known."""


def shows_reweighting(epochs: Mapping[int, Line]) -> bool | None:
    """Whether the lines of a log hold numbers of the plug-in, `train_reweight_*`; None without an epoch."""
    return any(key.startswith("train_reweight_") for line in epochs.values() for key in line) if epochs else None


@dataclass(frozen=True)
class StdoutLog:
    """What a run printed of its settings and times."""

    path: Path
    args: dict[str, Any]
    """Arguments of the last start that ended an epoch, or of the last start; without values that are no literals."""
    epoch_seconds: dict[int, float]
    """Epoch to seconds of its training pass, without validation and without discarded epochs."""
    training_seconds: float | None
    """The host's own time of the whole training; None unless one start went through all epochs."""
    starts: int
    """How often the run was started."""
