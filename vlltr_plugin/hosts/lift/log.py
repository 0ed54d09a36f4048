"""LIFT's `log.txt`: the printed text of a run, from its config to the result on the test set.

LIFT never overwrites a log: a second run into a folder writes `log.txt-2026-01-31-12-00-00` (LIFT+ always writes
`log-2026-01-31-12-00-00.txt`), so the last one in time counts in which it trained: a start that was refused, or a test
of the saved model (`test_only`, `test_train`), leaves a log as well. In a text of several runs (`tee -a`) each begins
with the config's banner, and the last one that trained counts. Some derivatives test after every epoch.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import RunFiles
from vlltr_plugin.hosts.lift.log_lines import BATCH_BEGINS, CONFIG, Reading
from vlltr_plugin.runs.epoch_files import numbered_files
from vlltr_plugin.runs.log import KEY, Line, Log, StdoutLog


def wrote(head: bytes) -> bool:
    """Whether the first bytes of a log are LIFT's."""
    text = head.decode("utf-8", "replace")
    return CONFIG in text or any(map(BATCH_BEGINS.match, text.split("\n")))


def find_log(folder: Path) -> Path | None:
    """The last log of a folder in which LIFT trained, else the last that it wrote; None if there is none."""
    own = [log for log in reversed(_logs(folder)) if _begins_as_lifts(log)]
    return next(filter(_trained, own), own[0] if own else None)


def _logs(folder: Path) -> list[Path]:
    """All logs of a folder, in the order in which they were begun."""
    return sorted([*folder.glob("log.txt"), *folder.glob("log.txt-*"), *folder.glob("log-*.txt")], key=_started)


def _begins_as_lifts(log: Path) -> bool:
    with log.open("rb") as file:
        return wrote(file.read(4096))


def _trained(log: Path) -> bool:
    with log.open(encoding="utf-8", errors="replace") as file:
        return any(BATCH_BEGINS.match(line) for line in file)


def _started(log: Path) -> str:
    """The time in a log's name; none for the first of a folder."""
    return log.name.removeprefix("log").removesuffix(".txt").removeprefix(".txt")


def read_run(path: Path) -> RunFiles:
    """Reads a log: results, config and times.

    Raises:
        ReportError: it is empty, or holds neither an epoch nor a result on the test set.
        OSError: it cannot be read.
    """
    runs = _read_runs(path)
    run = _that_counts(runs)
    warnings = [*_other_runs(path, runs, run), *run.warnings]
    if run.commas:
        warnings.append(
            f"{path}: left out {len(run.commas)} lines, the first line {run.commas[0]}: expected numbers with a "
            "decimal point but got a decimal comma. Write points in their place, or run the host with LC_ALL=C"
        )
    return _finish(run, runs, path, warnings)


def read_log(path: Path) -> Log:
    """The results alone."""
    return read_run(path).log


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
    """The last run that trained, else the last that was tested, else the last."""
    return next((run for run in reversed(runs) if run.losses), next((r for r in reversed(runs) if r.results), runs[-1]))


def _other_runs(path: Path, runs: list[Reading], run: Reading) -> list[str]:
    """A warning where the text holds several runs, and one where an unfinished run comes after a finished one."""
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
    """The other logs of LIFT in the folder of one; `before`: those of earlier starts."""
    logs = _logs(path.parent)
    return [log for log in logs[: logs.index(path) if before and path in logs else None]
            if path in logs and log != path and _begins_as_lifts(log)]  # fmt: skip


def _finish(run: Reading, runs: list[Reading], path: Path, warnings: list[str]) -> RunFiles:
    if not run.losses and not run.results:
        left_out = f" ({warnings[-1]})" if warnings else ""
        raise ReportError(
            f"{path}: expected a run of LIFT, but it holds neither an epoch nor a result on the test set{left_out}"
        )
    results = {epoch: _finite(line) for epoch, line in run.results.items()}
    epochs: dict[int, Line] = {}
    for epoch, losses in sorted(run.losses.items()):
        known = [loss for loss in losses if math.isfinite(loss)]
        if len(known) < len(losses):
            warnings.append(f"{path}: {len(losses) - len(known)} of {len(losses)} printed losses of epoch {epoch + 1} "
                            "are not finite; train_loss is the mean of the others")  # fmt: skip
        mean = {"train_loss": sum(known) / len(known)} if known else {}
        epochs[epoch] = {"epoch": epoch} | mean | run.ours.get(epoch, {})
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
    """Why a run that asked to be re-weighted was not, by what it left; empty if it was."""
    ended = set(run.losses) if run.finished else run.losses.keys() - {max(run.losses, default=0)}
    if run.attached:
        never = "no epoch of it ended with a line of the plug-in, so its weights never changed"
        return never if ended and not run.ours else ""
    others = [*runs, *(other for log in _other_logs(path) for other in _read_runs(log))]
    if ended and ended <= numbered_files(path.parent).keys() and not any(other.attached for other in others):
        return ""  # a host that keeps the plug-in's lines out of its log
    return "there is no line of the plug-in in its text"


def _finite(line: Line) -> Line:
    return {key: value for key, value in line.items() if math.isfinite(value)}


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
