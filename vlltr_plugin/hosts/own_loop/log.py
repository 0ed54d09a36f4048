"""What `RunRecorder` writes: `log.txt`, a JSON line for each epoch, and `reweight_settings.json`."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import RunFiles
from vlltr_plugin.runs.files import whole_objects
from vlltr_plugin.runs.log import Line, Log, shows_reweighting
from vlltr_plugin.runs.own_log import LOG, METRICS, SETTINGS, epoch_of, read_settings

ACCURACIES = frozenset(METRICS) - {"loss"}

OLDER_KEYS = dict(zip(("test_acc1", "test_many", "test_median", "test_low", "test_loss"), METRICS, strict=True))
"""Of logs that earlier versions wrote: key to metric."""


def find_log(folder: Path) -> Path | None:
    """The log of a run's folder; None if there is none."""
    return folder / LOG if (folder / LOG).is_file() else None


def read_run(path: Path) -> RunFiles:
    """Reads a log, and the settings beside it.

    Raises:
        ReportError: it is no log of a recorded run, or no epoch holds `overall`.
        OSError: it cannot be read.
    """
    log, source, settings = read_log(path), path.with_name(SETTINGS), read_settings(path.parent)
    damaged = () if settings is not None else (f"{source}: no JSON object of settings: left out",)
    known = source if settings else None
    return RunFiles(log, settings or {}, known, None, (*log.warnings, *damaged), args_whole=bool(settings))


def read_log(path: Path) -> Log:
    """The numbers alone."""
    epochs: dict[int, Line] = {}
    warnings = []
    for number, text in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found, cut = whole_objects(text.decode())
            for values in found:
                _take(values, epochs)
        except ValueError as error:
            raise ReportError(f"{path}, line {number}: {error}") from error
        if cut:
            warnings.append(f"{path}, line {number}: left out an epoch that a killed run wrote only half")
    if not any("overall" in line for line in epochs.values()):
        raise ReportError(f"{path}: expected accuracies to compare: call recorder.end_epoch(epoch, overall=...)")
    if _are_fractions(epochs.values()):
        warnings.append(
            f"{path}: no accuracy in any epoch is above 1: read as fractions and shown times 100. Give "
            "recorder.end_epoch accuracies in percent."
        )
        epochs = {epoch: _in_percent(line) for epoch, line in epochs.items()}
    return Log(path, dict(sorted(epochs.items())), None, tuple(warnings), reweighted=shows_reweighting(epochs))


def _are_fractions(lines: Iterable[Line]) -> bool:
    """Whether accuracies are from 0 to 1: none is larger, and some are neither 0 nor 1."""
    found = [value for line in lines for key, value in line.items() if key in ACCURACIES and isfinite(value)]
    return all(0 <= value <= 1 for value in found) and any(0 < value < 1 for value in found)


def _in_percent(line: Line) -> Line:
    return {key: 100 * value if key in ACCURACIES else value for key, value in line.items()}


def _take(values: dict[str, Any], epochs: dict[int, Line]) -> None:
    epoch = epoch_of(values)
    for later in [other for other in epochs if other >= epoch]:
        del epochs[later]
    epochs[epoch] = {OLDER_KEYS.get(key, key): v for key, v in values.items() if type(v) in (int, float)}
