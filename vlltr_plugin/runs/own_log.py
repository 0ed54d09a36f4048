"""What `RunRecorder` writes beside the arrays: `log.txt`, a JSON line an epoch, settings and class names."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlltr_plugin.core.epoch_statistics import LOGGED
from vlltr_plugin.runs.files import whole_objects, write_whole

LOG = "log.txt"
SETTINGS = "reweight_settings.json"
"""Beside the log: what the run was made with, by name."""

SHOT_GROUPS = "shot groups"
"""Setting of a run: the thresholds of its groups of classes, as `convention_of` reads them."""

CLASS_NAMES = "class_names.json"
"""Beside the log: the names of the classes, a JSON list."""

METRICS = ("overall", "many", "medium", "few", "loss")
"""Metrics that `compare` knows, by their keys in the log; any other is logged as well."""

Numbers = dict[str, float | int]


def numbers_of(metrics: Mapping[str, Any]) -> Numbers:
    """A user's metrics as plain numbers; ValueError for other values and for names of the plug-in's."""
    for name in metrics:
        if name == "epoch" or name.startswith(LOGGED):
            raise ValueError(f"Expected a metric under a name of its own but {name!r} is the plug-in's: rename it.")
    return {name: _number(name, value) for name, value in metrics.items()}


def append_line(path: Path, line: Mapping[str, float | int]) -> None:
    """Adds an object in a line of its own, also where a killed run left half a line; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = False
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            torn = file.read(1) != b"\n"
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(line) + "\n")


def cut_log(path: Path, first: int) -> None:
    """Removes an epoch and later ones from the end of a log; needs no room on the disk."""
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
    """The epoch of the last whole line, -1 where there is none; ValueError for a log of another kind."""
    last = -1
    for number, text in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        try:
            last = [last, *_epochs_in(text)][-1]
        except ValueError as error:
            raise ValueError(f"Expected JSON lines in {path} but of line {number}: {error}.") from error
    return last


def epoch_of(line: Mapping[str, Any]) -> int:
    """The epoch of a line; ValueError where it has none."""
    epoch = line.get("epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise ValueError(f"expected `epoch` to be a whole number from 0 on, but got {epoch!r}")
    return epoch


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings whole, unless they stand there already."""
    path, data = folder / SETTINGS, settings_as_json(settings)
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data)


def settings_as_json(settings: Mapping[str, Any]) -> bytes:
    """The settings as they are written, as text where JSON has no form; ValueError for names that are no text."""
    try:
        return json.dumps(settings, indent=2, default=str).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected settings that can be written as JSON but {error}.") from error


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder; None without them, and where they are damaged."""
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return settings if isinstance(settings, dict) else None


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Writes the names whole."""
    write_whole(folder / CLASS_NAMES, json.dumps(list(names), indent=0, ensure_ascii=False).encode())


def read_class_names(start: Path, num_classes: int) -> list[str] | None:
    """The names in a run's folder, or beside a file of it; None without them, damaged, or not one for each class."""
    folder = start if start.is_dir() else start.parent
    try:
        names = json.loads((folder / CLASS_NAMES).read_bytes())
    except (OSError, ValueError):
        return None
    fits = isinstance(names, list) and len(names) == num_classes and all(isinstance(name, str) for name in names)
    return names if fits else None


def _epochs_in(text: bytes) -> list[int]:
    return [epoch_of(line) for line in whole_objects(text.decode())[0] if "epoch" in line]


def _number(name: str, value: Any) -> float | int:
    if getattr(value, "size", None) is not None and hasattr(value, "item"):  # a tensor or array; one element or refused
        with contextlib.suppress(RuntimeError, ValueError):
            value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected the metric {name} to be a number but got {type(value).__name__} {value!r}."
        ) from error
