"""LIFT's `log.txt`: the printed text of a run, from its config to the result on the test set.

LIFT never overwrites a log: a second run into a folder writes `log.txt-2026-01-31-12-00-00` (LIFT+ always writes
`log-2026-01-31-12-00-00.txt`), so the last one in time counts in which it trained: a start that was refused, or a test
of the saved model (`test_only`, `test_train`), leaves a log as well. Some derivatives test after every epoch.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import RunFiles
from vlltr_plugin.runs.log import Line, Log, StdoutLog
from vlltr_plugin.training.settings import KEY

CONFIG, CONFIG_END = "** Config **", "************"

_NUMBER = r"([-+.\deE]+|nan|inf)"
_BATCH = re.compile(rf"epoch \[(\d+)/\d+\] batch \[(\d+)/(\d+)\](?: time \S+ \({_NUMBER}\))?.*? loss {_NUMBER} ")
_BATCH_BEGINS = re.compile(rb"epoch \[\d+/\d+\] batch \[")
_OURS = re.compile(r"\[vlltr-plugin\] epoch \[(\d+)/\d+\] (.*)")
_SPLIT = re.compile(r"Evaluate on the (\w+) set")
_ELAPSED = re.compile(r"Time elapsed: ((?:\d+ days?, )?)(\d+):(\d\d):(\d\d)")
_RESULTS = (
    ("overall", re.compile(rf"\* (?:overall )?accuracy: {_NUMBER}%", re.IGNORECASE)),
    ("macro", re.compile(rf"\* (?:average|mean class accuracy): {_NUMBER}%", re.IGNORECASE)),
    ("harmonic", re.compile(rf"\* hmean_acc: {_NUMBER}%")),
    ("many", re.compile(rf"\* many: {_NUMBER}%", re.IGNORECASE)),
    ("medium", re.compile(rf"\bmed: {_NUMBER}%", re.IGNORECASE)),
    ("few", re.compile(rf"\bfew: {_NUMBER}%", re.IGNORECASE)),
)
"""The numbers of a result, in LIFT's words and in LIFT+'s, by their names in our reports."""


@dataclass
class _Reading:
    """A log while it is read.

    Attributes:
        config: lines of the printed config.
        losses: printed losses of each epoch, from 0.
        ours: the plug-in's numbers of each epoch.
        clock: batches and seconds from the start to the last printed batch of each epoch, by the running mean.
        batches: batches of an epoch.
        results: results of each epoch after which one was printed; -1 before all. Each begins with its accuracy:
            derivatives print numbers of other kinds and the best epoch's again in the same words, before and behind it.
        class_accuracy: of the last result.
        seconds: the host's time of the training.
        warnings: lines that were left out.
        on_test_set: whether the results to come are on the test set; `test_train True` gives some of the training set.
    """

    config: list[str] = field(default_factory=list)
    losses: dict[int, list[float]] = field(default_factory=dict)
    ours: dict[int, Line] = field(default_factory=dict)
    clock: dict[int, tuple[int, float]] = field(default_factory=dict)
    batches: int = 0
    results: dict[int, Line] = field(default_factory=dict)
    class_accuracy: tuple[float, ...] = ()
    seconds: float | None = None
    warnings: list[str] = field(default_factory=list)
    on_test_set: bool = True


def wrote(head: bytes) -> bool:
    """Whether the first bytes of a log are LIFT's."""
    return CONFIG.encode() in head or any(map(_BATCH_BEGINS.match, head.split(b"\n")))


def find_log(folder: Path) -> Path | None:
    """The last log of a folder in which LIFT trained, else the last that it wrote; None if there is none."""
    logs = sorted([*folder.glob("log.txt"), *folder.glob("log.txt-*"), *folder.glob("log-*.txt")], key=_started)
    own = [log for log in reversed(logs) if _begins_as_lifts(log)]
    return next(filter(_trained, own), own[0] if own else None)


def _begins_as_lifts(log: Path) -> bool:
    with log.open("rb") as file:
        return wrote(file.read(4096))


def _trained(log: Path) -> bool:
    with log.open("rb") as file:
        return any(_BATCH_BEGINS.match(line) for line in file)


def _started(log: Path) -> str:
    """The time in a log's name; none for the first of a folder."""
    return log.name.removeprefix("log").removesuffix(".txt").removeprefix(".txt")


def read_run(path: Path) -> RunFiles:
    """Reads a log: results, config and times.

    Args:
        path: the file.

    Returns:
        What it says. An epoch's `train_loss` is the mean of the losses that it printed.

    Raises:
        ReportError: it is empty, or holds neither an epoch nor a result on the test set.
        OSError: it cannot be read.
    """
    reading = _Reading()
    in_config = in_classes = False
    classes = ""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n")
            if text in (CONFIG, CONFIG_END):
                in_config = text == CONFIG
            elif in_config:
                reading.config.append(text)
            elif in_classes or (reading.on_test_set and text.startswith("* class acc: [")):  # over several lines
                classes = classes * in_classes + text
                in_classes = "]" not in text
                reading.class_accuracy = () if in_classes else _class_accuracy(classes)
            elif text == line and _OURS.match(text):  # without an end: its last number may be half a one
                reading.warnings.append(f"{path}, line {number}: left out what a killed run wrote only half")
            else:
                _take_whole(text, reading, f"{path}, line {number}")
    return _finish(reading, path)


def read_log(path: Path) -> Log:
    """The results alone."""
    return read_run(path).log


def _take_whole(text: str, reading: _Reading, where: str) -> None:
    try:
        _take(text, reading)
    except ValueError as error:
        reading.warnings.append(f"{where}: left out, damaged ({error})")


def _take(text: str, reading: _Reading) -> None:
    if match := _BATCH.match(text):
        epoch, number, of = int(match[1]) - 1, int(match[2]), int(match[3])
        reading.losses.setdefault(epoch, []).append(float(match[5]))
        if match[4]:  # UPT prints no times
            reading.clock[epoch] = (epoch * of + number, (epoch * of + number) * float(match[4]))
            reading.batches = of
    elif match := _OURS.match(text):
        words = match[2].split()
        pairs = zip(words[::2], words[1::2], strict=False)
        reading.ours[int(match[1]) - 1] = {name: float(value) for name, value in pairs}
    elif match := _ELAPSED.match(text):
        days = int(match[1].split()[0]) if match[1] else 0
        reading.seconds = 86400.0 * days + 3600.0 * int(match[2]) + 60.0 * int(match[3]) + float(match[4])
    elif match := _SPLIT.match(text):
        reading.on_test_set = match[1] == "test"
    elif text.startswith("* ") and reading.on_test_set:
        found = {key: float(match[1]) for key, pattern in _RESULTS if (match := pattern.search(text))}
        epoch = max(reading.losses, default=-1)
        if "overall" in found:
            reading.results[epoch] = found
        elif epoch in reading.results:
            reading.results[epoch] = found | reading.results[epoch]


def _class_accuracy(text: str) -> tuple[float, ...]:
    """The printed accuracies of the classes; none where it has left some out (more than 1000 classes)."""
    inside = text[text.index("[") + 1 : text.index("]")]
    try:
        return tuple(map(float, inside.split()))
    except ValueError:  # "...", or damaged
        return ()


def _finish(reading: _Reading, path: Path) -> RunFiles:
    if not reading.losses and not reading.results:
        raise ReportError(f"{path}: expected a run of LIFT, but it holds neither an epoch nor a result on the test set")
    results = {epoch: _finite(line) for epoch, line in reading.results.items()}
    epochs: dict[int, Line] = {}
    for epoch, losses in sorted(reading.losses.items()):
        known = [loss for loss in losses if math.isfinite(loss)]
        mean = {"train_loss": sum(known) / len(known)} if known else {}
        epochs[epoch] = {"epoch": epoch} | mean | reading.ours.get(epoch, {})
    last = max(epochs, default=-1)
    warnings = reading.warnings
    if any(epoch in results for epoch in epochs if epoch < last):  # else the one result is the final test
        epochs = {epoch: line | results.get(epoch, {}) for epoch, line in epochs.items()}
        warnings.append(f"{path}: its results after each epoch are on the test set: the best of them is chosen by it")
    args = read_config(reading.config)
    if not reading.losses:
        args.pop("model_dir", None)  # the model that was tested; a run that trains goes on from it
    stdout = StdoutLog(path, args, _epoch_seconds(reading), reading.seconds, starts=1)
    reweighted = KEY in args if args else None
    log = Log(path, epochs, results.get(last), tuple(warnings), None, reading.class_accuracy, reweighted)
    return RunFiles(log, args, path if args else None, stdout, log.warnings, args_whole=bool(args))


def _finite(line: Line) -> Line:
    return {key: value for key, value in line.items() if math.isfinite(value)}


def _epoch_seconds(reading: _Reading) -> dict[int, float]:
    """Seconds of each training pass: its batches times their mean time between the last lines of two epochs."""
    found = {}
    before = (0, 0.0)
    for epoch, (batches, seconds) in sorted(reading.clock.items()):
        if batches > before[0]:
            found[epoch] = reading.batches * (seconds - before[1]) / (batches - before[0])
        before = (batches, seconds)
    return found


def read_config(lines: list[str]) -> dict[str, Any]:
    """The settings of a printed yacs config, nested ones by their names with dots.

    `dataset` is called `data_set`, as everywhere in reports; `reweight` is a dict of what was set, and missing where
    there is no `reweight.type`.
    """
    args: dict[str, Any] = {}
    node: list[str] = []
    for text in lines:
        key, colon, value = text.strip().partition(":")
        if not colon:
            continue
        node = node[: (len(text) - len(text.lstrip())) // 2]
        if not value:
            node.append(key)
        else:
            args[".".join([*node, key])] = _plain(value.strip())
    prefix = f"{KEY}."
    asked = {key.removeprefix(prefix): args.pop(key) for key in list(args) if key.startswith(prefix)}
    if asked.get("type") is not None:
        args[KEY] = {key: value for key, value in asked.items() if value is not None}
    if "dataset" in args:
        args["data_set"] = args.pop("dataset")
    return args


def _plain(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
