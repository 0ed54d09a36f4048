"""The printed output of a VL-LTR run: its arguments and times. The launcher script saves it as `train.log`."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from vlltr_plugin.runs.log import StdoutLog

NAMES = ("train.log", "console.txt")
"""Files looked for beside `log.txt`: upstream's launcher writes the first, our demo the second."""

_LONGEST = 1_000_000  # characters of a line that are read
_CLOCK = r"((?:\d+ days?, )?\d+:\d\d:\d\d)"
_BATCH = re.compile(r"Epoch: \[(\d+)\]\s+\[\s*\d+/(\d+)\]")
_EPOCH = re.compile(rf"Epoch: \[(\d+)\] Total time: {_CLOCK} \((\d+(?:\.\d*)?) s / it\)")
_TRAINING = re.compile(rf"Training time {_CLOCK}")


def find_stdout_log(folder: Path) -> StdoutLog | None:
    """Reads what a run printed, if a folder holds it."""
    for name in NAMES:
        if (folder / name).is_file():
            return read_stdout_log(folder / name)
    return None


def read_stdout_log(path: Path) -> StdoutLog:
    """Reads what one or more starts of a run printed into one file."""
    printed: dict[str, Any] = {}  # by the latest start
    trained_with: dict[str, Any] | None = None  # by the latest that went through an epoch
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
                seconds = {other: value for other, value in seconds.items() if other < epoch}
                training = None  # until this start, too, has come to its end
                seconds[epoch] = _finer(parse_clock(match[2]), float(match[3]), batches.get(epoch))
            elif match := _BATCH.search(text):
                batches[int(match[1])] = int(match[2])
            elif (match := _TRAINING.search(text)) and since_start:
                training = parse_clock(match[1]) if 0 in since_start else None
    args = printed if trained_with is None else trained_with
    return StdoutLog(path, args, dict(sorted(seconds.items())), training, starts)


def parse_namespace(text: str) -> dict[str, Any]:
    """The arguments of a printed `Namespace(...)`, literals only; nothing of it is evaluated."""
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
        if keyword.arg is None and isinstance(value, dict):  # names that are no Python names
            found.update(value)
        elif keyword.arg is not None:
            found[keyword.arg] = value
    return found


def parse_clock(text: str) -> float:
    """Seconds of `H:MM:SS` or `D days, H:MM:SS`."""
    days, _, clock = text.rpartition(", ")
    hours, minutes, seconds = map(int, clock.split(":"))
    return 86400.0 * int(days.split()[0] if days else 0) + 3600.0 * hours + 60.0 * minutes + seconds


def _finer(seconds: float, seconds_per_batch: float, batches: int | None) -> float:
    """The time from the seconds per batch, where they agree with the time printed in whole seconds."""
    finer = seconds_per_batch * (batches or 0)
    return finer if abs(finer - seconds - 0.5) <= 0.5 + 1e-4 * (batches or 0) else seconds
