"""What the user names as a run: a folder or log, or several seeds of one method, with all that is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from math import isfinite, nan
from pathlib import Path
from typing import Any

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, get_host, host_of_log
from vlltr_plugin.hosts.host import Host
from vlltr_plugin.report.compare.evaluations import NAME as EVALUATION
from vlltr_plugin.report.compare.evaluations import Evaluated, read_evaluation
from vlltr_plugin.report.labels import printable, recorded_groups
from vlltr_plugin.runs.log import KEY, Line, Log, StdoutLog

LOG = "log.txt"
ANY_MODEL = "own-loop"
"""Host whose words and keys the logits of any model get, unless they stand beside a host's runs."""


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
        groups: thresholds of its groups of classes; None where they are not known.
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
    groups: Convention | None = None

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


def load(text: str, groups: Convention | None = None, host: Host | None = None) -> Method:
    """Loads what a command-line argument names.

    Raises:
        ReportError: something in it is missing or cannot be used.
        OSError: a file cannot be read.
    """
    if _is_path(text):
        run = load_run(Path(text), groups, host)
        return Method(_name(run) or str(Path(text)), (run,))
    name, _, rest = text.partition("=")
    paths = [Path(part) for part in split_seeds(rest)]
    if not name or not paths:
        raise ReportError(f"{text}: expected name=folder1,folder2,... for the seeds of a method")
    runs = tuple(load_run(path, groups, host) for path in paths)
    if len({run.log.path.resolve() for run in runs}) < len(runs):
        raise ReportError(f"{text}: expected different folders, but one is given twice")
    return Method(name, runs)


def load_all(texts: Sequence[str], groups: Convention | None = None) -> list[Method]:
    """Loads several methods and makes their names different: of unnamed ones the shortest ends of their paths."""
    methods = [load(text, groups) for text in texts]
    hosts = [run.host for method in methods for run in method.runs if not _of_any_model(run)]
    if hosts and any(_of_any_model(run) for method in methods for run in method.runs):
        methods = [load(text, groups, hosts[0]) for text in texts]
    named: list[Method] = []
    for name, method in zip(short_names(texts, methods), methods, strict=True):
        taken = {other.name for other in named}
        numbered = (f"{name} ({number})" for number in count(2))
        named.append(Method(next(free for free in chain([name], numbered) if free not in taken), method.runs))
    return named


def short_names(texts: Sequence[str], methods: Sequence[Method]) -> list[str]:
    """Each method's name as text; where folders have one name, so many of those around them that they differ."""
    folders = [_folder(method.runs[0]) if _is_path(text) else None for text, method in zip(texts, methods, strict=True)]
    lengths = [1] * len(texts)

    def name_of(index: int) -> str:
        folder = folders[index]
        return methods[index].name if folder is None else "/".join(folder.parts[-lengths[index] :])

    while True:
        names = [name_of(index) for index in range(len(texts))]
        longer = [
            index
            for index, folder in enumerate(folders)
            if folder is not None
            and lengths[index] < len(folder.parts) - 1
            and any(names[index] == names[other] and folder != folders[other] for other in range(len(texts)))
        ]
        if not longer:
            return [printable(name or method.name) for name, method in zip(names, methods, strict=True)]
        for index in longer:
            lengths[index] += 1


def split_seeds(text: str) -> list[str]:
    """The paths in a list with commas between them, also where a path has commas itself.

    Of several ways to read the list as runs, the one whose first path is longest; the parts between commas where none
    of them is.
    """
    parts = text.split(",")
    starts: dict[int, list[str]] = {len(parts): []}  # the paths from a part on, where it can be read so
    for start in reversed(range(len(parts))):
        for end in range(len(parts), start, -1):
            path = ",".join(parts[start:end])
            if end in starts and (not path or _find_results(Path(path)) is not None):
                starts[start] = [path, *starts[end]] if path else starts[end]
                break
    return starts.get(0, [part for part in parts if part])


def load_run(path: Path, groups: Convention | None = None, host: Host | None = None) -> Run:
    """Loads one training run, from its folder or its log, with what lies beside the log; or an evaluation."""
    found = _find_results(path)
    if found is None:
        what = f"no {LOG} in this folder" if path.is_dir() else "no such file or folder"
        raise ReportError(f"{path}: expected a run's folder or its {LOG}, but there is {what}")
    if found.suffix == ".json":
        return _load_evaluation(path, found, groups, host or get_host(ANY_MODEL))
    return _load_log(path, found, groups)


def _find_results(path: Path) -> Path | None:
    """The log or the evaluation that a path names."""
    if not _exists(str(path)):
        return None
    candidates = [find_log(path), path / EVALUATION] if path.is_dir() else [path]
    return next((candidate for candidate in candidates if candidate is not None and candidate.is_file()), None)


def _load_log(path: Path, log_path: Path, groups: Convention | None) -> Run:
    host = host_of_log(log_path)
    files = host.read_run(log_path)
    own = recorded_groups(host, files.args, path)
    if own is not None and groups not in (None, own):
        raise ReportError(
            f"{path}: expected groups {own.numbers}, those of this log, but got {groups.numbers if groups else ''}: a "
            "log has no predictions to group anew. Leave --groups out, or compare evaluations of the runs."
        )
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
        groups=groups or own,
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


def _load_evaluation(path: Path, file: Path, groups: Convention | None, host: Host) -> Run:
    """An evaluation; its checkpoint, if it still lies beside the evaluation's folder, tells the settings."""
    log, evaluated, told = read_evaluation(file, host, groups)
    beside = file.resolve().parent.parent
    checkpoint = beside / evaluated.checkpoint if evaluated.checkpoint else None
    host = get_host(evaluated.host) if evaluated.host else host
    args, source, warnings = host.args_of_checkpoint(checkpoint)
    source = source if args else file if evaluated.of_recorded_run else None
    whole = args is not None or evaluated.of_recorded_run
    given, unshown = _as_shown(told | (args or {}), _log_in(beside, host))
    warnings = [*warnings, *unshown]
    return Run(
        path, host, log, given, source, None, tuple(warnings), evaluated, args_whole=whole, groups=evaluated.groups
    )


def _of_any_model(run: Run) -> bool:
    return run.evaluated is not None and run.evaluated.host is None


def _is_path(text: str) -> bool:
    return "=" not in text or _exists(text)


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
    return _folder(run).name


def _folder(run: Run) -> Path:
    """The run's folder; `evaluate` writes into a folder of its own inside it."""
    folder = run.log.path.resolve().parent
    return folder.parent if run.evaluated and folder.name == "evaluation" else folder
