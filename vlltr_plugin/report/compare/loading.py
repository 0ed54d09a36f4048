"""Loads what the user names as a run: a folder, a log, an evaluation, or several seeds of one method."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, get_host, host_of_log
from vlltr_plugin.hosts.host import Host
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.report.labels import printable, recorded_groups
from vlltr_plugin.runs.log import KEY, Log

LOG, EVALUATION = "log.txt", "evaluation.json"
ANY_MODEL = "own-loop"
"""Host whose words and keys the logits of any model get, unless they stand beside a host's runs."""


def load(text: str, groups: Convention | None = None, host: Host | None = None) -> Method:
    """Loads what a command-line argument names.

    Raises:
        ReportError: something in it is missing or cannot be used.
        OSError: a file cannot be read.
    """
    if _is_path(text):
        run = load_run(Path(text), groups, host)
        return Method(_folder(run).name or str(Path(text)), (run,))
    name, _, rest = text.partition("=")
    paths = [Path(part) for part in _split_seeds(rest)]
    if not name or not paths:
        raise ReportError(f"{text}: expected name=folder1,folder2,... for the seeds of a method")
    runs = tuple(load_run(path, groups, host) for path in paths)
    if len({run.log.path.resolve() for run in runs}) < len(runs):
        raise ReportError(f"{text}: expected different folders, but one is given twice")
    return Method(name, runs)


def load_all(texts: Sequence[str], groups: Convention | None = None) -> list[Method]:
    """Loads several methods and makes their names different: of unnamed ones the shortest ends of their paths."""
    methods = [load(text, groups) for text in texts]
    runs = [run for method in methods for run in method.runs]
    hosts = [run.host for run in runs if run.evaluated is None or run.evaluated.host is not None]
    if hosts and len(hosts) < len(runs):
        methods = [load(text, groups, hosts[0]) for text in texts]
    folders = [_folder(method.runs[0]) if _is_path(text) else None for text, method in zip(texts, methods, strict=True)]
    given = {method.name for method, folder in zip(methods, folders, strict=True) if folder is None}
    named: dict[str, Method] = {}
    for method, folder in zip(methods, folders, strict=True):
        others = {other.parts for other in folders if other not in (None, folder)}
        name = printable((folder and _short_name(folder, others, given)) or method.name)
        numbered = (f"{name} ({number})" for number in count(2))
        free = next(free for free in chain([name], numbered) if free not in named)
        named[free] = Method(free, method.runs)
    return list(named.values())


def _short_name(folder: Path, others: Collection[tuple[str, ...]], given: Collection[str]) -> str:
    """The shortest end of its path that no other folder has."""
    for length in range(1, len(folder.parts) - 1):
        end = folder.parts[-length:]
        if "/".join(end) not in given and end not in {other[-length:] for other in others}:
            return "/".join(end)
    return "/".join(folder.parts[1:])


def _split_seeds(text: str) -> list[str]:
    """Splits a list at its commas, but not inside the path of a run.

    Of several ways to read the list as runs, takes the one with the longest first path; without any, splits at each
    comma.
    """
    parts = text.split(",")
    starts: dict[int, list[str]] = {len(parts): []}  # the paths from each part on that starts one
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
    if found.suffix != ".json":
        return _load_log(path, found, groups)
    from vlltr_plugin.report.compare.evaluations import read_evaluation  # not for logs

    host = host or get_host(ANY_MODEL)
    files, evaluated = read_evaluation(found, groups, host)
    host = get_host(evaluated.host) if evaluated.host else host
    run = Run(**vars(files), path=path, host=host, evaluated=evaluated, groups=evaluated.groups)
    return _without_unapplied_reweight(run, _log_in(found.resolve().parent.parent, host))


def _find_results(path: Path) -> Path | None:
    """The log or the evaluation that a path names."""
    if not _exists(path):
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
    return _without_unapplied_reweight(Run(**vars(files), path=path, host=host, groups=groups or own), files.log)


def _without_unapplied_reweight(run: Run, log: Log | None) -> Run:
    """The run without a re-weighting in its arguments that no line of the log shows, with a warning."""
    if log is None or log.reweighted is not False or not isinstance(run.args.get(KEY), dict):
        return run
    warning = (
        f"{log.path}: its settings ask for reweight type {run.args[KEY].get('type')}, but no line has a number of the "
        "plug-in (train_reweight_*): it counts as a plain run. Were the plug-in's lines in the code that it ran?"
    )
    args = {name: value for name, value in run.args.items() if name != KEY}
    return replace(run, args=args, warnings=(*run.warnings, warning))


def _log_in(folder: Path, host: Host) -> Log | None:
    """The log of the run that was evaluated, if it is there and can be read."""
    found = host.find_log(folder)
    try:
        return None if found is None else host.read_log(found)
    except (ReportError, OSError):
        return None


def _is_path(text: str) -> bool:
    return "=" not in text or _exists(Path(text))


def _exists(path: Path) -> bool:
    """False also where the names of many runs are too long for a path."""
    try:
        return path.exists()
    except OSError:
        return False


def _folder(run: Run) -> Path:
    """The run's folder; `evaluate` writes into a folder of its own inside it."""
    folder = run.log.path.resolve().parent
    return folder.parent if run.evaluated and folder.name == "evaluation" else folder
