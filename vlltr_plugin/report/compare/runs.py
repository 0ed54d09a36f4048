"""What the user names as a run: a folder or log, or several seeds of one method, with all that is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from math import isfinite, nan
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, get_host, host_of_log
from vlltr_plugin.hosts.host import Host
from vlltr_plugin.report.compare.evaluation_runs import NAME as EVALUATION
from vlltr_plugin.report.compare.evaluation_runs import Evaluated, read_evaluation
from vlltr_plugin.report.names import readable
from vlltr_plugin.runs.log import Line, Log, StdoutLog
from vlltr_plugin.training.settings import KEY

LOG = "log.txt"


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        path: as the user gave it.
        host: whose run it is.
        log: its results.
        args: the host's arguments, by name; empty if unknown.
        args_source: the file that all of them come from; None if they are not all known.
        stdout: what the run printed, if that was kept.
        warnings: what was left out or could not be read.
        evaluated: where the results come from `vlltr-plugin evaluate`: what it was made on.
        args_whole: whether an argument that is not in `args` is not set in that run.
    """

    path: Path
    host: Host
    log: Log
    args: dict[str, Any]
    args_source: Path | None
    stdout: StdoutLog | None
    warnings: tuple[str, ...]
    evaluated: Evaluated | None = None
    args_whole: bool = False

    @property
    def best_epoch(self) -> int | None:
        """The first epoch of the best overall top-1 accuracy on the validation split; nan is no accuracy."""
        overall = self.host.overall.key
        scored = [epoch for epoch, line in self.log.epochs.items() if isfinite(line.get(overall, nan))]
        return max(scored, key=lambda epoch: self.log.epochs[epoch][overall], default=None)

    @property
    def last_epoch(self) -> int | None:
        """The last epoch in the log."""
        return max(self.log.epochs, default=None)

    def line(self, stage: str) -> Line | None:
        """The line of the `"best"` or `"last"` epoch, or of the final `"test"`; None if there is none."""
        if stage == "test":
            return self.log.test
        epoch = self.best_epoch if stage == "best" else self.last_epoch
        return None if epoch is None else self.log.epochs[epoch]


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        name: its name, different from that of any other in a comparison.
        runs: one or more, which differ in their seeds.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def host(self) -> Host:
        """Whose runs they are."""
        return self.runs[0].host


def load(text: str) -> Method:
    """Loads what a command-line argument names.

    Args:
        text: a folder, a log or an evaluation, or `name=folder1,folder2,...` for the seeds of one method.

    Returns:
        The method, named after its folder unless a name is given.

    Raises:
        ReportError: something in it is missing or cannot be used.
        OSError: a file cannot be read.
    """
    if _exists(text) or "=" not in text:
        path = Path(text)
        run = load_run(path)
        return Method(_name(run) or str(path), (run,))
    name, _, rest = text.partition("=")
    paths = [Path(rest)] if rest and _exists(rest) else [Path(part) for part in rest.split(",") if part]
    if not name or not paths:
        raise ReportError(f"{text}: expected name=folder1,folder2,... for the seeds of a method")
    runs = tuple(load_run(path) for path in paths)
    if len({run.log.path.resolve() for run in runs}) < len(runs):
        raise ReportError(f"{text}: expected different folders, but one is given twice")
    return Method(name, runs)


def load_all(texts: Sequence[str]) -> list[Method]:
    """Loads several methods and makes their names different."""
    methods: list[Method] = []
    for text in texts:
        method = load(text)
        taken = {other.name for other in methods}
        name = readable(method.name)
        numbered = (f"{name} ({number})" for number in count(2))
        methods.append(Method(next(free for free in chain([name], numbered) if free not in taken), method.runs))
    return methods


def load_run(path: Path) -> Run:
    """Loads one training run, from its folder or its log, with what lies beside the log; or an evaluation."""
    candidates = [find_log(path), path / EVALUATION] if path.is_dir() else [path]
    found = next((candidate for candidate in candidates if candidate is not None and candidate.is_file()), None)
    if found is None:
        what = f"no {LOG} in this folder" if path.is_dir() else "no such file or folder"
        raise ReportError(f"{path}: expected a run's folder or its {LOG}, but there is {what}")
    return _load_evaluation(path, found) if found.suffix == ".json" else _load_log(path, found)


def _load_log(path: Path, log_path: Path) -> Run:
    host = host_of_log(log_path)
    files = host.read_run(log_path)
    args, unshown = _as_shown(files.args, files.log)
    return Run(
        path,
        host,
        files.log,
        args,
        files.args_source,
        files.stdout,
        (*files.warnings, *unshown),
        args_whole=files.args_whole,
    )


def _as_shown(args: dict[str, Any], log: Log | None) -> tuple[dict[str, Any], list[str]]:
    """The arguments without a re-weighting that no line of the log shows, and a warning of it."""
    if log is None or log.reweighted is not False or not isinstance(args.get(KEY), dict):
        return args, []
    warning = (
        f"{log.path}: its settings ask for reweight type {args[KEY].get('type')}, but no line has a number of the "
        "plug-in (train_reweight_*): it counts as a plain run. Were the plug-in's lines in the code that it ran?"
    )
    return {name: value for name, value in args.items() if name != KEY}, [warning]


def _load_evaluation(path: Path, file: Path) -> Run:
    """An evaluation; its checkpoint, if it still lies beside the evaluation's folder, tells the settings."""
    log, evaluated, told = read_evaluation(file)
    beside = file.resolve().parent.parent
    host = get_host(evaluated.host)
    checkpoint = beside / evaluated.checkpoint if evaluated.checkpoint else None
    args, source, warnings = host.args_of_checkpoint(checkpoint)
    given, unshown = _as_shown(told | (args or {}), _log_in(beside, host))
    source, whole = source if args else None, args is not None
    return Run(path, host, log, given, source, None, (*warnings, *unshown), evaluated, whole)


def _log_in(folder: Path, host: Host) -> Log | None:
    """The log of the run that was evaluated, if it is there and can be read."""
    found = host.find_log(folder)
    try:
        return None if found is None else host.read_log(found)
    except (ReportError, OSError):
        return None


def _exists(text: str) -> bool:
    """Whether that is a path; the names of many runs are too long for one."""
    try:
        return Path(text).exists()
    except OSError:
        return False


def _name(run: Run) -> str:
    """The run's folder; `evaluate` writes into a folder of its own inside it."""
    folder = run.log.path.resolve().parent
    return folder.parent.name if run.evaluated and folder.name == "evaluation" else folder.name
