"""Arrays in a run's folder that are not the run's: of epochs before it went back to an earlier one, or of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_log
from vlltr_plugin.runs.epoch_arrays import EpochArrays


def left_by_the_log(run: Path, epochs: list[int]) -> set[int] | None:
    """The epochs that the run's log says were abandoned.

    Args:
        run: the run's folder.
        epochs: of its arrays.

    Returns:
        Those of `epochs` among them; None where there is no log, or none that is understood or that tells.

    Raises:
        ReportError: when the log says that its run was not re-weighted: the arrays are another run's.
    """
    try:
        path = find_log(run)
        log = None if path is None else host_of_log(path).read_log(path)
    except (ReportError, OSError):
        return None
    if log is None or not log.epochs:
        return None
    if log.reweighted is False:
        raise ReportError(
            f"Expected a re-weighted run in {run} but the last one there ({log.path.name}) is a plain one: the arrays "
            "in the folder are of a run before it. Give each run an output folder of its own."
        )
    return None if log.abandoned is None else set(log.abandoned) & set(epochs)


def goes_on(before: EpochArrays, after: EpochArrays) -> bool:
    """Whether the weights in force in an epoch are those that the one before it left, to float32's last digits."""
    for name, weights in after.by_logits.items():
        left = before.by_logits[name].next_weights if name in before.by_logits else None
        if left is None or left.shape != weights.in_force.shape:
            return False
        if not np.allclose(left, weights.in_force, rtol=1e-5, atol=0):
            return False
    return True


def is_older(path: Path, than: Path) -> bool:
    """Whether a file was written before another one."""
    return path.stat().st_mtime_ns < than.stat().st_mtime_ns
