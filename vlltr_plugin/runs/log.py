"""The contents of a run's log, in the same form for every host, and the other files that `RunRecorder` writes.

These are `log.txt` with a JSON line an epoch, the settings, and the names of the classes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from vlltr_plugin.core.epoch_statistics import LOGGED
from vlltr_plugin.runs.files import printable, whole_objects, write_whole

KEY = "reweight"  # key of the settings in a config and in a run's arguments, and of the state in its checkpoint
LOG = "log.txt"
SETTINGS = "reweight_settings.json"  # file beside the log: the run's settings by name
SHOT_GROUPS = "shot groups"  # setting: the thresholds of the groups of classes, as `convention_of` reads them
CLASS_NAMES = "class_names.json"  # file beside the log: a JSON list
ACCURACIES = ("overall", "many", "medium", "few")  # in percent
METRICS = (*ACCURACIES, "loss")  # metrics that `compare` knows; others are logged as well
HIGHEST = 100.001  # percent: a float32 mean may round to more than 100

Line = dict[str, float]  # numbers of an epoch or of the final test, keyed by `Metric.key`
Numbers = dict[str, float | int]


@dataclass(frozen=True)
class Log:
    """The contents of a log."""

    path: Path
    epochs: dict[int, Line]  # epoch, from 0, to its line, ascending; the later line if an epoch repeats
    test: Line | None  # the result on the test split after the last epoch, if there is one
    warnings: tuple[str, ...]  # what was left out or looks wrong, one line each, with the file's name
    # Epochs discarded because the run resumed from an earlier one; None if each start has its own log.
    abandoned: tuple[int, ...] | None = ()
    class_accuracy: tuple[float, ...] = ()  # top-1 of each class in that test, percent; empty if unknown
    reweighted: bool | None = None  # None if unknown


def shows_reweighting(epochs: Mapping[int, Line]) -> bool | None:
    """True if the log has numbers of the plug-in (`train_reweight_*`); None without an epoch."""
    return any(key.startswith("train_reweight_") for line in epochs.values() for key in line) if epochs else None


@dataclass
class EpochLines:
    """The epochs of a log while it is read. A resumed run writes lines again from the epoch it resumed at."""

    lines: dict[int, Line] = field(default_factory=dict)  # by epoch, ascending
    abandoned: set[int] = field(default_factory=set)  # epochs after the latest one that were discarded
    first: int = 0  # number of the first epoch in the log itself, for warnings
    own_loop: bool = False  # True if a loop may record every fifth epoch only, or count from 1

    def take(self, epoch: int, line: Line) -> None:
        """Adds the line of an epoch; it replaces earlier lines of this epoch and of later ones."""
        while self.lines and (last := next(reversed(self.lines))) >= epoch:
            del self.lines[last]
            self.abandoned.add(last)
        self.abandoned = {other for other in self.abandoned if other > epoch}
        self.lines[epoch] = line

    def warnings(self, path: Path) -> list[str]:
        """Warnings of missing and of discarded epochs."""
        found = []
        gaps = [(before + 1, after - 1) for before, after in pairwise((-1, *self.lines)) if after > before + 1]
        steps = {after - before for before, after in pairwise(self.lines)}
        first = min(self.lines, default=0)
        shows_step = first > 0 or len(self.lines) > 2  # 0 and one other epoch do not
        regular = shows_step and len(steps) < 2 and first <= min(steps, default=1)
        if gaps and not (self.own_loop and regular):
            named = [(low + self.first, high + self.first) for low, high in gaps]
            missing = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in named)
            found.append(f"{path}: no line for epoch {missing}")
        if self.abandoned:
            found.append(
                f"{path}: training went back and is now at epoch {max(self.lines) + self.first}; {len(self.abandoned)} "
                f"later ones up to {max(self.abandoned) + self.first} were discarded and are left out"
            )
        return found

    def log(self, path: Path, warnings: Iterable[str], test: Line | None = None) -> Log:
        """The log; its warnings end with those of missing and of discarded epochs."""
        said, abandoned = (*warnings, *self.warnings(path)), tuple(sorted(self.abandoned))
        return Log(path, self.lines, test, said, abandoned, reweighted=shows_reweighting(self.lines))


@dataclass(frozen=True)
class StdoutLog:
    """Settings and times printed by a run."""

    path: Path
    # Arguments of the last start that ended an epoch, else of the last start; only those with literal values.
    args: dict[str, Any]
    epoch_seconds: dict[int, float]  # seconds of each training pass, without validation and discarded epochs
    training_seconds: float | None  # the host's own total time; None unless one start trained all epochs
    starts: int  # number of starts of the run


def numbers_of(metrics: Mapping[str, Any]) -> Numbers:
    """A user's metrics as plain numbers; ValueError for other values and for names of the plug-in's."""
    numbers: Numbers = {}
    for name, value in metrics.items():
        if name == "epoch" or name.startswith(LOGGED):
            raise ValueError(f"Expected a metric under a name of your own but the plug-in uses {name!r}: rename it.")
        if getattr(value, "size", None) is not None and hasattr(value, "item"):  # a tensor or array with one element
            with contextlib.suppress(RuntimeError, ValueError):
                value = value.item()
        try:
            if isinstance(value, str | bytes | bool):
                raise TypeError
            numbers[name] = value if isinstance(value, int) else float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected the metric {name} to be a number but got {type(value).__name__} {value!r}."
            ) from error
        if name in ACCURACIES and not (0 <= numbers[name] <= HIGHEST or math.isnan(numbers[name])):
            raise ValueError(f"Expected the accuracy {name} in percent, 0 to 100, but got {numbers[name]:g}.")
    return numbers


def append_line(path: Path, line: Mapping[str, float | int]) -> None:
    """Appends an object on a new line, also after a line that a killed run cut off; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = False
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            torn = file.read(1) != b"\n"
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(line) + "\n")


def cut_log(path: Path, first: int) -> None:
    """Removes an epoch and later ones from the end of a log; needs no disk space."""
    cut, start = None, 0
    for text in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
        epochs = _epochs_in(text)
        if any(epoch < first for epoch in epochs):
            cut = None
        elif epochs and cut is None:
            cut = start
        start += len(text)
    if cut is not None:
        os.truncate(path, cut)


def last_epoch(path: Path) -> int:
    """The epoch of the last complete line, -1 if there is none; ValueError for a log of another kind."""
    last = -1
    for number, text in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        try:
            last = [last, *_epochs_in(text)][-1]
        except ValueError as error:
            raise ValueError(f"Expected JSON lines in {path} but of line {number}: {error}.") from error
    return last


def epoch_of(line: Mapping[str, Any]) -> int:
    """The epoch of a line; ValueError if it has none."""
    epoch = line.get("epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise ValueError(f"expected `epoch` to be a whole number from 0 on, but got {epoch!r}")
    return epoch


def settings_as_json(settings: Mapping[str, Any]) -> bytes:
    """The settings as JSON, values that JSON cannot hold as text; ValueError for names that are not strings."""
    try:
        return json.dumps(settings, indent=2, default=str).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected settings that can be written as JSON but {error}.") from error


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder; None if missing or damaged."""
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return settings if isinstance(settings, dict) else None


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Writes the class names atomically."""
    write_whole(folder / CLASS_NAMES, json.dumps([*map(printable, names)], indent=0, ensure_ascii=False).encode())


def read_class_names(start: Path, num_classes: int) -> list[str] | None:
    """The class names in a run's folder, or beside a file in it; None if missing, damaged, or not one per class."""
    folder = start if start.is_dir() else start.parent
    try:
        names = json.loads((folder / CLASS_NAMES).read_bytes())
    except (OSError, ValueError):
        return None
    fits = isinstance(names, list) and len(names) == num_classes and all(isinstance(name, str) for name in names)
    return names if fits else None


def _epochs_in(text: bytes) -> list[int]:
    return [epoch_of(line) for line in whole_objects(text.decode())[0] if "epoch" in line]
