"""Arrays in a run's folder that are not the run's: of epochs before it went back to an earlier one, or of another.

The arrays say which run wrote them, and the log how many epochs there were. Names and times of files say nothing:
a second run takes the names, and a copy has other times.
"""

from __future__ import annotations

from pathlib import Path

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_log
from vlltr_plugin.runs.log import KEY, Log
from vlltr_plugin.runs.run_identity import newest, read_identity


def stale_epochs(run: Path, files: dict[int, Path]) -> tuple[int, ...]:
    """The epochs of a folder that are no part of the run that wrote into it last.

    Raises:
        ReportError: when the log says that its run was not re-weighted, or that no epoch of it has ended: the arrays
            are another run's; when there are arrays of several runs and no telling which is the last.
    """
    writers = {epoch: read_identity(path) for epoch, path in files.items()}
    runs = newest(writers.values())
    if len(runs) > 1:
        epochs = "; ".join(", ".join(str(epoch) for epoch, by in writers.items() if by == one) for one in runs)
        raise ReportError(
            f"Expected the arrays of one run in {run} but got those of {len(runs)} (epochs {epochs}), and no telling "
            "which is the last: two ran at once, or their folders were put together. Keep the files of one."
        )
    left = _left_by_the_log(run, files)
    others = {n for n, by in writers.items() if by is not None and not all(last.has(n, by) for last in runs)}
    return tuple(n for n in files if n in others | left)


def _left_by_the_log(run: Path, files: dict[int, Path]) -> set[int]:
    """The epochs that the run's log says were abandoned; none where there is no log that is understood."""
    try:
        path = find_log(run)
        log = None if path is None else host_of_log(path).read_log(path)
    except (ReportError, OSError):
        return set()
    if log is None or not log.epochs:
        return set()
    if amiss := "has ended no epoch" if _ended_none(log) else "is a plain one" if log.reweighted is False else "":
        raise ReportError(
            f"Expected a re-weighted run in {run} but the last one there ({log.path.name}) {amiss}: the arrays in the "
            "folder are of a run before it. Give each run an output folder of its own."
        )
    return {n for n in files if n > max(log.epochs)} if log.abandoned is None else set(log.abandoned)


def _ended_none(log: Log) -> bool:
    """Whether a log, of a host whose every start has its own, breaks off inside the first epoch."""
    ours = any(key.startswith(f"{KEY}_") for line in log.epochs.values() for key in line)
    return log.abandoned is None and log.test is None and max(log.epochs) == 0 and not ours
