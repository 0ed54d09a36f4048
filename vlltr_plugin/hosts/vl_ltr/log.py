"""VL-LTR's `log.txt` as it is: a JSON line for each epoch, and one without `epoch` for the test split.

A resumed run writes again from the epoch that it went back to: earlier lines from that epoch on are not part of
the run any more. A killed run can end in half a line, with the next one glued to it. Runs that only evaluate append a
comment (`# epoch=9, task=...`, or a blank line where they loaded no checkpoint) and their result, of the test,
validation or training split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.files import whole_objects
from vlltr_plugin.runs.log import Line, Log, shows_reweighting

_HEAD = 4096  # bytes by which a file is recognised
_EVALUATED_EPOCH = re.compile(r"#\s*epoch=(\d+)")
_SPLITS = {"val_": "the validation split", "train_": "the training split"}


@dataclass
class _Reading:
    """A log while it is read."""

    epochs: dict[int, Line] = field(default_factory=dict)
    latest: int | None = None  # the epoch of the latest line
    abandoned: set[int] = field(default_factory=set)  # epochs after `latest` that were written before it
    tests: list[Line] = field(default_factory=list)  # since the latest epoch
    comment: str | None = None  # just above this line; empty for a blank line
    warnings: list[str] = field(default_factory=list)


def read_log(path: Path) -> Log:
    """Reads a log; ReportError if it is empty, no text, holds no result, or has a line that upstream does not write."""
    reading = _Reading()
    for number, text in _text_lines(path):
        where = f"{path}, line {number}"
        if not text or text.startswith("#"):
            reading.comment = text
            continue
        try:
            found, cut = whole_objects(text)
            if cut:
                reading.warnings.append(f"{where}: left out a result that a killed run wrote only in part")
            for values in found:
                _take(values, reading, where)
        except ValueError as error:
            raise ReportError(f"{where}: {error}") from error
        glued = _EVALUATED_EPOCH.search(text)  # to half a line
        reading.comment = glued[0] if glued else None
    return _finish(reading, path)


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if not head.strip():
            raise ReportError(f"{path}: expected the JSON lines of a VL-LTR log, but the file is empty")
        if b"\0" in head and not head.lstrip(b"\0\r\n ").startswith((b"{", b"#")):  # zeros: see `torn_lines`
            raise ReportError(f"{path}, line 1: expected the JSON lines of a VL-LTR log, but this is a binary file")
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise ReportError(f"{path}, line {number}: expected text in UTF-8, but got other bytes") from error


def _take(values: dict[str, Any], reading: _Reading, where: str) -> None:
    """Sorts one object in, by its `epoch` or the lack of it."""
    line = {key: value for key, value in values.items() if _is_number(value)}
    if "epoch" in values:
        _take_epoch(values["epoch"], line, reading, where)
    else:
        _take_evaluation(line, reading, where)
    reading.comment = None


def _take_epoch(epoch: object, line: Line, reading: _Reading, where: str) -> None:
    """A line of training: what was written of this epoch and later ones is replaced."""
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise ValueError(f"expected `epoch` to be a whole number from 0 on, but got {epoch!r}")
    if reading.tests:
        reading.warnings.append(f"{where}: training went on after a test result, which is left out")
    later = {other for other in reading.epochs if other > epoch}
    for other in later:
        del reading.epochs[other]
    reading.abandoned = {other for other in reading.abandoned | later if other > epoch}
    reading.epochs[epoch] = line
    reading.latest = epoch
    reading.tests = []


def _take_evaluation(line: Line, reading: _Reading, where: str) -> None:
    """A result without epoch: the final test, or that of a run that only evaluated; what is not taken is named."""
    comment = _EVALUATED_EPOCH.match(reading.comment or "")
    epoch = int(comment[1]) if comment else None
    of_epoch = "" if epoch is None else f" of epoch {epoch}"
    if not any(key.startswith("test_") for key in line):
        split = next(
            (name for start, name in _SPLITS.items() if any(key.startswith(start) for key in line)), "no split"
        )
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in line.items() if key.endswith("acc1"))
        numbers = numbers or ", ".join(line) or "no numbers"
        reading.warnings.append(f"{where}: left out, an evaluation{of_epoch} on {split} alone ({numbers})")
    elif epoch is not None and reading.latest is not None and epoch != reading.latest:
        reading.warnings.append(f"{where}: left out, a test of epoch {epoch}, not of {reading.latest}")
    elif reading.comment == "" and reading.tests:
        reading.warnings.append(f"{where}: left out, a test without a checkpoint, after a test of this run")
    else:
        reading.tests.append(line)


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) < 2**1023  # else no float
    return type(value) is float


def _finish(reading: _Reading, path: Path) -> Log:
    """Checks the whole and orders it."""
    epochs = dict(sorted(reading.epochs.items()))
    test = reading.tests[-1] if reading.tests else None
    lines = [*epochs.values(), *reading.tests]
    if not lines:
        left_out = f" ({reading.warnings[-1]})" if reading.warnings else ""
        raise ReportError(
            f"{path}: expected a result of an epoch or of the test split, but no line holds one{left_out}"
        )
    if not any("test_acc1" in line for line in lines):
        raise ReportError(
            f"{path}: expected results of stage two (`test_acc1`), but the lines hold {', '.join(sorted(lines[-1]))}"
        )
    warnings = list(reading.warnings)
    missing = [_range(before + 1, after - 1) for before, after in pairwise((-1, *epochs)) if after > before + 1]
    if missing:
        warnings.append(f"{path}: no line for epoch {', '.join(missing)}")
    if reading.abandoned:
        warnings.append(
            f"{path}: training went back and is now at epoch {reading.latest}; "
            f"{len(reading.abandoned)} later ones up to {max(reading.abandoned)} were discarded and are left out"
        )
    if len({line.get("test_acc1") for line in reading.tests}) > 1:
        warnings.append(f"{path}: {len(reading.tests)} test results that differ; the last one counts")
    shown = shows_reweighting(epochs)
    return Log(path, epochs, test, tuple(warnings), tuple(sorted(reading.abandoned)), reweighted=shown)


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
