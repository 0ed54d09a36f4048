"""LIFT's `log.txt`: the printed text of a run, from its config to the result on the test set.

LIFT never overwrites a log: a second run into a folder writes `log.txt-2026-01-31-12-00-00` (LIFT+ always writes
`log-2026-01-31-12-00-00.txt`). A refused start, or a test of the saved model (`test_only`, `test_train`), also leaves
a log. So the latest log with training is read. If one file holds several runs (`tee -a`), each begins with the
config's banner, and the last run that trained is read. Some forks test after every epoch.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import HEAD
from vlltr_plugin.hosts.host import RunFiles
from vlltr_plugin.runs.epoch_files import numbered_files
from vlltr_plugin.runs.log import KEY, EpochLines, Line, Log, StdoutLog

UNKEPT_OUTPUT = ("output_dir", "vlltr-plugin-output")
"""Arguments for a start that must leave no log in the run's folder; this folder is created in its side folder."""

CONFIG, CONFIG_END = "** Config **", "************"
BATCH_BEGINS = re.compile(r"epoch \[\d+/\d+\] batch \[")
OURS_BEGINS = "[vlltr-plugin] "

_NUMBER = r"([-+.\deE]+|nan|inf)"
_BATCH = re.compile(rf"epoch \[(\d+)/\d+\] batch \[(\d+)/(\d+)\](?: time \S+ \({_NUMBER}\))?.*? loss {_NUMBER} ")
_OURS = re.compile(r"\[vlltr-plugin\] epoch \[(\d+)/\d+\] (.*)")
_SPLIT = re.compile(r"Evaluate on the (\w+) set")
_ELAPSED = re.compile(r"Time elapsed: ((?:\d+ days?, )?)(\d+):(\d\d):(\d\d)")
_DECIMAL_COMMA = re.compile(r"(?:epoch \[.* (?:loss|time)|\* .*:|\[vlltr-plugin\] epoch .*) \d+,\d+[ %]")
_RESULTS = (
    ("overall", re.compile(rf"\* (?:overall )?accuracy: {_NUMBER}%", re.IGNORECASE)),
    ("macro", re.compile(rf"\* (?:average|mean class accuracy): {_NUMBER}%", re.IGNORECASE)),
    ("harmonic", re.compile(rf"\* hmean_acc: {_NUMBER}%")),
    ("many", re.compile(rf"\* many: {_NUMBER}%", re.IGNORECASE)),
    ("medium", re.compile(rf"\bmed: {_NUMBER}%", re.IGNORECASE)),
    ("few", re.compile(rf"\bfew: {_NUMBER}%", re.IGNORECASE)),
)
"""Patterns of a result's numbers, as LIFT and LIFT+ print them, by their names in our reports."""


@dataclass
class Reading:
    """A run while its lines are read. Epochs count from 0; -1 is before all."""

    line: int = 1  # number of its first line in the text, from 1
    config: list[str] = field(default_factory=list)  # lines of the printed config
    losses: dict[int, list[float]] = field(default_factory=dict)
    ours: dict[int, Line] = field(default_factory=dict)  # the plug-in's numbers
    attached: bool = False  # True if the plug-in printed a line
    clock: dict[int, tuple[int, float]] = field(default_factory=dict)  # batches and seconds up to an epoch's last batch
    batches: int = 0  # of an epoch
    results: dict[int, Line] = field(default_factory=dict)  # by the epoch after which they were printed
    class_accuracy: tuple[float, ...] = ()  # of the last result
    seconds: float | None = None  # of the training, printed when it is over
    warnings: list[str] = field(default_factory=list)  # lines that were left out
    commas: list[int] = field(default_factory=list)  # numbers of the lines that were left out for a decimal comma
    on_test_set: bool = True  # `test_train True` gives results on the training set as well
    _in_config: bool = False
    _classes: str | None = None  # the accuracies of the classes so far, over several lines

    @property
    def finished(self) -> bool:
        """True if the training finished."""
        return bool(self.losses) and (self.seconds is not None or max(self.losses) in self.results)

    def take(self, line: str, where: str, number: int) -> None:
        """Reads a line of the text."""
        text = line.rstrip("\r\n")
        speaks = BATCH_BEGINS.match(text) or text.startswith(OURS_BEGINS)
        self.attached |= text.startswith(OURS_BEGINS)
        if text in (CONFIG, CONFIG_END):
            self._in_config = text == CONFIG
        elif self._in_config and not speaks:
            self.config.append(text)
        elif self._classes is not None or (self.on_test_set and text.startswith("* class acc: [")):
            self._take_class_accuracy(text, where)
        elif text == line and _OURS.match(text):  # a line without line end: its last number may be cut off
            self.warnings.append(f"{where}: left out a line that a killed run wrote only in part")
        elif _DECIMAL_COMMA.match(text):
            self.commas.append(number)
        else:
            self._in_config = False
            try:
                self._take_whole(text, where)
            except ValueError as error:
                self.warnings.append(f"{where}: left out, damaged ({error})")

    def _take_whole(self, text: str, where: str) -> None:
        if match := _BATCH.match(text):
            epoch, number, of = int(match[1]) - 1, int(match[2]), int(match[3])
            loss, seconds = float(match[5]), float(match[4] or 0)
            if epoch < max(self.losses, default=-1):
                self._begin_again(epoch, where)
            self.losses.setdefault(epoch, []).append(loss)
            if match[4]:  # UPT prints no times
                self.clock[epoch] = (epoch * of + number, (epoch * of + number) * seconds)
                self.batches = of
        elif match := _OURS.match(text):
            words = match[2].split()
            pairs = zip(words[::2], words[1::2], strict=False)
            self.ours[int(match[1]) - 1] = {name: float(value) for name, value in pairs}
        elif match := _ELAPSED.match(text):
            days = int(match[1].split()[0]) if match[1] else 0
            self.seconds = 86400.0 * days + 3600.0 * int(match[2]) + 60.0 * int(match[3]) + float(match[4])
        elif match := _SPLIT.match(text):
            self.on_test_set = match[1] == "test"
        elif text.startswith("* ") and self.on_test_set:
            found = {key: float(match[1]) for key, pattern in _RESULTS if (match := pattern.search(text))}
            epoch = max(self.losses, default=-1)
            if "overall" in found:  # derivatives print other numbers, and the best epoch's, before and behind it
                self.results[epoch] = found
            elif epoch in self.results:
                self.results[epoch] = found | self.results[epoch]

    def _begin_again(self, epoch: int, where: str) -> None:
        """Drops what was read from an epoch on, because the run trains it again."""
        self.warnings.append(
            f"{where}: training went back to epoch {epoch + 1}; earlier results from there on are left out"
        )
        for numbers in (self.losses, self.ours, self.clock, self.results):
            for later in [other for other in numbers if other >= epoch]:
                del numbers[later]
        self.seconds, self.class_accuracy = None, ()

    def _take_class_accuracy(self, text: str, where: str) -> None:
        """The printed accuracies of the classes; none where numpy has left some out (more than 1000 classes)."""
        self._classes = (self._classes or "") + text
        if "]" not in text:
            return
        inside, self._classes = self._classes, None
        try:
            self.class_accuracy = tuple(map(float, inside[inside.index("[") + 1 : inside.index("]")].split()))
        except ValueError:  # "...", or damaged
            self.class_accuracy = ()


def is_log(head: bytes) -> bool:
    """True if the first bytes of a log are LIFT's."""
    text = head.decode("utf-8", "replace")
    return CONFIG in text or any(map(BATCH_BEGINS.match, text.split("\n")))


def find_log(folder: Path) -> Path | None:
    """The latest log in a folder that holds a training, else the latest log; None if there is none."""
    own = _logs(folder)[::-1]
    return next(filter(_trained, own), own[0] if own else None)


def _logs(folder: Path) -> list[Path]:
    """LIFT's logs in a folder, by the time in their names; the first has none."""
    logs = [*folder.glob("log.txt"), *folder.glob("log.txt-*"), *folder.glob("log-*.txt")]
    logs.sort(key=lambda log: log.name.removeprefix("log").removesuffix(".txt").removeprefix(".txt"))
    own = []
    for log in logs:
        with log.open("rb") as file:
            own += [log] if is_log(file.read(HEAD)) else []
    return own


def _trained(log: Path) -> bool:
    with log.open(encoding="utf-8", errors="replace") as file:
        return any(BATCH_BEGINS.match(line) for line in file)


def _read_runs(path: Path) -> list[Reading]:
    """The runs in a text; the first also holds what comes before its banner."""
    runs = [Reading()]
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.rstrip("\r\n") == CONFIG and (runs[-1].config or runs[-1].losses or runs[-1].results):
                runs.append(Reading(number))
            runs[-1].take(line, f"{path}, line {number}", number)
    return runs


def _that_counts(runs: list[Reading]) -> Reading:
    """Returns the last run that trained, else the last that was tested, else the last."""
    return next((run for run in reversed(runs) if run.losses), next((r for r in reversed(runs) if r.results), runs[-1]))


def _other_runs(path: Path, runs: list[Reading], run: Reading) -> list[str]:
    """Warns if the text holds several runs, and if an unfinished run comes after a finished one."""
    trained = [other for other in runs if other.losses]
    said = []
    if len(trained) > 1:
        lines = ", ".join(str(other.line) for other in trained)
        said.append(f"{path}: holds {len(trained)} runs, from lines {lines} on: the last one counts")
    if run.finished or not run.losses:
        return said
    finished = [f"the run from line {other.line} on" for other in trained if other.finished]
    finished += [log.name for log in _other_logs(path, before=True) if _that_counts(_read_runs(log)).finished]
    if finished:
        said.append(
            f"{path}: its last run did not finish, but {finished[-1]} did: if the last one was a false start, give the "
            "log of the finished one, in a file of its own"
        )
    return said


def _other_logs(path: Path, before: bool = False) -> list[Path]:
    """The other logs in the same folder; with `before`, only those of earlier starts."""
    logs = _logs(path.parent)
    if path not in logs:
        return []
    return [log for log in logs[: logs.index(path) if before else None] if log != path]


def read_run(path: Path) -> RunFiles:
    """Reads a log: results, config and times; ReportError if it holds neither an epoch nor a result on the test set."""
    runs = _read_runs(path)
    run = _that_counts(runs)
    warnings = [*_other_runs(path, runs, run), *run.warnings]
    if run.commas:
        warnings.append(
            f"{path}: left out {len(run.commas)} lines, the first line {run.commas[0]}: expected numbers with a "
            "decimal point but got a decimal comma. Write points in their place, or run the host with LC_ALL=C"
        )
    if not run.losses and not run.results:
        left_out = f" ({warnings[-1]})" if warnings else ""
        raise ReportError(
            f"{path}: expected a run of LIFT, but it holds neither an epoch nor a result on the test set{left_out}"
        )
    results = {
        epoch: {key: value for key, value in line.items() if math.isfinite(value)}
        for epoch, line in run.results.items()
    }
    epochs: dict[int, Line] = {}
    for epoch, losses in sorted(run.losses.items()):
        known = [loss for loss in losses if math.isfinite(loss)]
        if len(known) < len(losses):
            warnings.append(f"{path}: {len(losses) - len(known)} of {len(losses)} printed losses of epoch {epoch + 1} "
                            "are not finite; train_loss is the mean of the others")  # fmt: skip
        mean = {"train_loss": sum(known) / len(known)} if known else {}
        epochs[epoch] = {"epoch": epoch} | mean | run.ours.get(epoch, {})
    warnings += EpochLines(epochs, first=1).warnings(path)
    last = max(epochs, default=-1)
    if any(epoch in results for epoch in epochs if epoch < last):  # else the one result is the final test
        epochs = {epoch: line | results.get(epoch, {}) for epoch, line in epochs.items()}
        warnings.append(f"{path}: its results after each epoch are on the test set: the best of them is chosen by it")
    args = read_config(run.config)
    if not run.losses:
        args.pop("model_dir", None)  # the model that was tested; a run that trains goes on from it
    elif KEY in args and (claim := _claim(run, runs, path)):
        warnings.append(f"{path}: its config asks for reweight.type {args.pop(KEY)['type']}, but {claim}: it counts as "
                        "a plain run. `vlltr-plugin status` says what is wrong in the checkout")  # fmt: skip
    stdout = StdoutLog(path, args, _epoch_seconds(run), run.seconds, starts=1)
    reweighted = KEY in args if args else None
    log = Log(path, epochs, results.get(last), tuple(warnings), None, run.class_accuracy, reweighted)
    return RunFiles(log, args, path if args else None, stdout, log.warnings, args_whole=bool(args))


def _claim(run: Reading, runs: list[Reading], path: Path) -> str:
    """Says from a run's files why its re-weighting did not happen; empty if it did."""
    ended = set(run.losses) if run.finished else run.losses.keys() - {max(run.losses, default=0)}
    if run.attached:
        never = "no epoch of it ended with a line of the plug-in, so its weights never changed"
        return never if ended and not run.ours else ""
    others = [*runs, *(other for log in _other_logs(path) for other in _read_runs(log))]
    if ended and ended <= numbered_files(path.parent).keys() and not any(other.attached for other in others):
        return ""  # this host does not write the plug-in's lines to its log
    return "there is no line of the plug-in in its text"


def _epoch_seconds(run: Reading) -> dict[int, float]:
    """Seconds of each training pass: its batches times their mean time between the last lines of two epochs."""
    found = {}
    before = (0, 0.0)
    for epoch, (batches, seconds) in sorted(run.clock.items()):
        if batches > before[0]:
            found[epoch] = run.batches * (seconds - before[1]) / (batches - before[0])
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
