"""Loads runs and methods from a folder, a log, an evaluation, or several seeds of one method."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from math import isfinite, nan
from pathlib import Path

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import default_host, find_log, get_host, host_of_log
from vlltr_plugin.hosts.host import Host, RunFiles
from vlltr_plugin.report.compare.evaluations import Evaluated, read_evaluation
from vlltr_plugin.report.labels import recorded_groups
from vlltr_plugin.runs.files import printable
from vlltr_plugin.runs.log import KEY, Line, Log

LOG, EVALUATION = "log.txt", "evaluation.json"
ANY_MODEL = "own-loop"
"""Host whose terms and keys are used for the logits of any model, unless they are compared with a host's runs."""


@dataclass(frozen=True, kw_only=True)
class Run(RunFiles):
    """One training run: its files, or its evaluation by `vlltr-plugin evaluate`."""

    path: Path  # as the user gave it
    host: Host
    evaluated: Evaluated | None = None
    groups: Convention | None = None  # None if the thresholds are unknown

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
    """A method: its name, unique in a comparison, and its runs, which differ in their seeds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def host(self) -> Host:
        """The host of its runs."""
        return self.runs[0].host


def load(text: str, groups: Convention | None = None, host: Host | None = None) -> Method:
    """Loads the method that a command-line argument names; ReportError if something is missing or cannot be used."""
    if _is_path(text):
        run = load_run(Path(text), groups, host)
        return Method(_folder(run).name or str(Path(text)), (run,))
    name, _, rest = text.partition("=")
    paths = [Path(part) for part in _split_seeds(rest)]
    if not name or not paths:
        raise ReportError(f"{text}: expected name=folder1,folder2,... for the seeds of a method")
    runs = tuple(load_run(path, groups, host) for path in paths)
    if len({_log_of_training(run) for run in runs}) < len(runs):
        raise ReportError(f"{text}: expected different folders, but one is given twice")
    return Method(name, runs)


def load_all(texts: Sequence[str], groups: Convention | None = None) -> list[Method]:
    """Loads several methods with unique names: unnamed ones get the shortest distinct ends of their paths."""
    methods = [load(text, groups) for text in texts]
    runs = [run for method in methods for run in method.runs]
    hosts = [run.host for run in runs if run.evaluated is None or run.evaluated.host is not None]
    if hosts and len(hosts) < len(runs):
        methods = [load(text, groups, hosts[0]) for text in texts]
    folders = [_folder(method.runs[0]) if _is_path(text) else None for text, method in zip(texts, methods, strict=True)]
    given = {method.name for method, folder in zip(methods, folders, strict=True) if folder is None}
    named: dict[str, Method] = {}
    for method, folder in zip(methods, folders, strict=True):
        ends = _ends(folder)
        taken = given.union(*(_ends(other) for other in folders if other != folder))
        name = printable(next((end for end in ends if end not in taken), ends[-1] if ends else method.name))
        numbered = (f"{name} ({number})" for number in count(2))
        free = next(free for free in chain([name], numbered) if free not in named)
        named[free] = Method(free, method.runs)
    return list(named.values())


def _ends(folder: Path | None) -> list[str]:
    """The last part of a path, the last two, and so on."""
    parts = () if folder is None else folder.parts
    return ["/".join(parts[-length:]) for length in range(1, len(parts))]


def _split_seeds(text: str) -> list[str]:
    """Splits a list at its commas, but not inside the path of a run.

    If the list can be read as runs in several ways, the longest first path wins; if in none, splits at each comma.
    """
    parts = text.split(",")
    starts: dict[int, list[str]] = {len(parts): []}  # for each part that starts a path: the paths from there on
    for start in reversed(range(len(parts))):
        for end in range(len(parts), start, -1):
            path = ",".join(parts[start:end])
            if end in starts and (not path or _find_results(Path(path)) is not None):
                starts[start] = [path, *starts[end]] if path else starts[end]
                break
    return starts.get(0, [part for part in parts if part])


def load_run(path: Path, groups: Convention | None = None, host: Host | None = None) -> Run:
    """Loads one training run from its folder or log, with the files beside the log; or an evaluation."""
    found = _find_results(path)
    if found is None:
        what = f"no {LOG} in this folder" if path.is_dir() else "no such file or folder"
        raise ReportError(f"{path}: expected a run's folder or its {LOG}, but there is {what}")
    if found.suffix != ".json":
        host = host_of_log(found)
        files = host.read_run(found)
        own = recorded_groups(host, files.args, path)
        if own is not None and groups is not None and groups != own:
            raise ReportError(
                f"{path}: expected groups {own.numbers}, those of this log, but got {groups.numbers}: a log has no "
                "predictions to group anew. Leave --groups out, or compare evaluations of the runs."
            )
        run = Run(**vars(files), path=path, host=host, groups=groups or own)
        return _without_unapplied_reweight(run, files.log)
    host = host or get_host(ANY_MODEL)
    files, evaluated = read_evaluation(found, groups, host)
    host = get_host(evaluated.host) if evaluated.host else host
    run = Run(**vars(files), path=path, host=host, evaluated=evaluated, groups=evaluated.groups)
    log_path = host.find_log(found.resolve().parent.parent)
    try:  # the log of the evaluated run, if it exists and can be read
        return _without_unapplied_reweight(run, None if log_path is None else host.read_log(log_path))
    except (ReportError, OSError):
        return run


def _find_results(path: Path) -> Path | None:
    """The log or the evaluation that a path names."""
    if not os.path.exists(path):  # Path.exists raises OSError if the joined names of many runs are too long
        return None
    # The log of no known host comes last: its reader says what is wrong with it.
    found = [find_log(path), path / EVALUATION, default_host().find_log(path)]
    candidates = found if path.is_dir() else [path]
    return next((candidate for candidate in candidates if candidate is not None and candidate.is_file()), None)


def _without_unapplied_reweight(run: Run, log: Log | None) -> Run:
    """Removes a re-weighting from the run's arguments if no line of the log shows it, with a warning."""
    if log is None or log.reweighted is not False or not isinstance(run.args.get(KEY), dict):
        return run
    warning = (
        f"{log.path}: its settings ask for reweight type {run.args[KEY].get('type')}, but no line has a number of the "
        "plug-in (train_reweight_*): it counts as a plain run. Were the plug-in's lines in the code that it ran?"
    )
    args = {name: value for name, value in run.args.items() if name != KEY}
    return replace(run, args=args, warnings=(*run.warnings, warning))


def _is_path(text: str) -> bool:
    return "=" not in text or os.path.exists(text)


def _log_of_training(run: Run) -> Path:
    """The run's log, also of an evaluation in its folder; the evaluation if it lies elsewhere."""
    path = run.log.path.resolve()
    return (find_log(path.parent.parent) if run.evaluated else None) or path


def _folder(run: Run) -> Path:
    """The run's folder; `evaluate` writes into a folder of its own inside it."""
    folder = run.log.path.resolve().parent
    return folder.parent if run.evaluated and folder.name == "evaluation" else folder
