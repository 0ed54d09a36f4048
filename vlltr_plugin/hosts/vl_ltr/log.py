"""Reads `log.txt` of a VL-LTR run (a JSON line per epoch, and one without `epoch` for the test) and its printed output.

A resumed run writes lines again from the epoch it resumed at; the older lines from that epoch on no longer belong to
the run. A killed run can leave an incomplete line, to which the next one is appended. A run that only evaluates appends
a comment (`# epoch=9, task=...`, or a blank line if it loaded no checkpoint) and its result on the test, validation or
training split.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.files import whole_objects
from vlltr_plugin.runs.log import EpochLines, Line, Log, StdoutLog, epoch_of

_HEAD = 4096  # leading bytes read to recognise a file
_EVALUATED_EPOCH = re.compile(r"#\s*epoch=(\d+)")
_SPLITS = {"val_": "the validation split", "train_": "the training split"}

PRINTED = ("train.log", "console.txt")
"""Names of the printed output beside `log.txt`: upstream's launcher writes the first, our demo the second."""

_LONGEST = 1_000_000  # number of characters read of a printed line
_CLOCK = r"((?:\d+ days?, )?\d+:\d\d:\d\d)"
_BATCH = re.compile(r"Epoch: \[(\d+)\]\s+\[\s*\d+/(\d+)\]")
_EPOCH = re.compile(rf"Epoch: \[(\d+)\] Total time: {_CLOCK} \((\d+(?:\.\d*)?) s / it\)")
_TRAINING = re.compile(rf"Training time {_CLOCK}")


def read_log(path: Path) -> Log:
    """Reads a log; ReportError if it is empty, not text, has no result, or has a line that upstream does not write."""
    reading = _Reading(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if not head.strip():
            raise ReportError(f"{path}: expected the JSON lines of a VL-LTR log, but the file is empty")
        if b"\0" in head and not head.lstrip(b"\0\r\n ").startswith((b"{", b"#")):  # zeros: see `whole_objects`
            raise ReportError(f"{path}, line 1: expected the JSON lines of a VL-LTR log, but this is a binary file")
        file.seek(0)
        for number, line in enumerate(file, start=1):
            reading.where = f"{path}, line {number}"
            try:
                reading.read(line.decode("utf-8").strip())
            except UnicodeDecodeError as error:
                raise ReportError(f"{reading.where}: expected text in UTF-8, but got other bytes") from error
            except ValueError as error:
                raise ReportError(f"{reading.where}: {error}") from error
    return reading.finish()


@dataclass
class _Reading:
    """A log while it is read."""

    path: Path
    where: str = ""  # file and number of the line
    epochs: EpochLines = field(default_factory=EpochLines)
    tests: list[Line] = field(default_factory=list)  # test results since the latest epoch
    comment: str | None = None  # comment directly above this line; empty for a blank line
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Adds a warning about this line."""
        self.warnings.append(f"{self.where}: {text}")

    def read(self, text: str) -> None:
        """Reads one line of the file."""
        if not text or text.startswith("#"):
            self.comment = text
            return
        found, cut = whole_objects(text)
        if cut:
            self.warn("left out a result that a killed run wrote only in part")
        for values in found:
            line = {key: value for key, value in values.items() if type(value) in (int, float)}
            line = {key: value for key, value in line.items() if type(value) is float or abs(value) < 2**1023}
            if "epoch" in values:
                self.read_epoch(epoch_of(values), line)
            else:
                self.read_evaluation(line)
            self.comment = None
        glued = _EVALUATED_EPOCH.search(text)  # appended to an incomplete line
        self.comment = glued[0] if glued else None

    def read_epoch(self, epoch: int, line: Line) -> None:
        """Reads the line of an epoch."""
        if self.tests:
            self.warn("training went on after a test result, which is left out")
        self.epochs.take(epoch, line)
        self.tests = []

    def read_evaluation(self, line: Line) -> None:
        """Reads a result without epoch: the final test or another evaluation; warns if it is left out."""
        comment = _EVALUATED_EPOCH.match(self.comment or "")
        epoch = int(comment[1]) if comment else None
        if not any(key.startswith("test_") for key in line):
            splits = [name for start, name in _SPLITS.items() if any(key.startswith(start) for key in line)]
            split = splits[0] if splits else "no split"
            numbers = ", ".join(f"{key} {value:.4g}" for key, value in line.items() if key.endswith("acc1"))
            of_epoch = "" if epoch is None else f" of epoch {epoch}"
            numbers = numbers or ", ".join(line) or "no numbers"
            self.warn(f"left out, an evaluation{of_epoch} on {split} alone ({numbers})")
        elif epoch is not None and self.epochs.lines and epoch != max(self.epochs.lines):
            self.warn(f"left out, a test of epoch {epoch}, not of {max(self.epochs.lines)}")
        elif self.comment == "" and self.tests:
            self.warn("left out, a test without a checkpoint, after a test of this run")
        else:
            self.tests.append(line)

    def finish(self) -> Log:
        """Checks all that was read."""
        path, warnings = self.path, self.warnings
        lines = [*self.epochs.lines.values(), *self.tests]
        if not lines:
            left_out = f" ({warnings[-1]})" if warnings else ""
            raise ReportError(
                f"{path}: expected a result of an epoch or of the test split, but no line holds one{left_out}"
            )
        if not any("test_acc1" in line for line in lines):
            keys = ", ".join(sorted(lines[-1]))
            raise ReportError(f"{path}: expected results of stage two (`test_acc1`), but the lines hold {keys}")
        if len({line.get("test_acc1") for line in self.tests}) > 1:
            warnings.append(f"{path}: {len(self.tests)} test results that differ; the last one counts")
        return self.epochs.log(path, warnings, self.tests[-1] if self.tests else None)


def find_stdout_log(folder: Path) -> StdoutLog | None:
    """Reads the printed output of one or more starts of a run, if the folder has it."""
    path = next((folder / name for name in PRINTED if (folder / name).is_file()), None)
    if path is None:
        return None
    printed: dict[str, Any] = {}  # printed by the latest start
    trained_with: dict[str, Any] | None = None  # printed by the latest start that completed an epoch
    batches: dict[int, int] = {}
    seconds: dict[int, float] = {}
    since_start: set[int] = set()
    starts, training = 0, None
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            text = text[:_LONGEST]
            if text.startswith("Namespace("):
                printed, starts, since_start = parse_namespace(text), starts + 1, set()
            elif match := _EPOCH.search(text):
                epoch = int(match[1])
                trained_with = printed
                since_start.add(epoch)
                training = None  # unknown until this start ends, too
                seconds = {other: value for other, value in seconds.items() if other < epoch}
                # The time per batch is more precise than the whole seconds, if both agree.
                number, rounded = batches.get(epoch, 0), _seconds(match[2])
                finer = float(match[3]) * number
                seconds[epoch] = finer if abs(finer - rounded - 0.5) <= 0.5 + 1e-4 * number else rounded
            elif match := _BATCH.search(text):
                batches[int(match[1])] = int(match[2])
            elif (match := _TRAINING.search(text)) and since_start:
                training = _seconds(match[1]) if 0 in since_start else None
    args = printed if trained_with is None else trained_with
    return StdoutLog(path, args, dict(sorted(seconds.items())), training, starts)


def parse_namespace(text: str) -> dict[str, Any]:
    """The arguments of a printed `Namespace(...)` that are literals; nothing is evaluated."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Namespace"):
        return {}
    found = {}
    for keyword in call.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if keyword.arg is not None:
            found[keyword.arg] = value
        elif isinstance(value, dict):  # names that are not Python identifiers
            found.update(value)
    return found


def _seconds(clock: str) -> float:
    """Seconds of `H:MM:SS` or `D days, H:MM:SS`."""
    days, _, clock = clock.rpartition(", ")
    hours, minutes, seconds = map(int, clock.split(":"))
    return 86400.0 * int(days.split()[0] if days else 0) + 3600.0 * hours + 60.0 * minutes + seconds
