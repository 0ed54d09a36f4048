"""What the rest of the plug-in asks of a host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlltr_plugin.runs.log import Log, StdoutLog


@dataclass(frozen=True)
class RunFiles:
    """What a run of a host left.

    Attributes:
        log: its results.
        args: the host's arguments, by name; empty if unknown.
        args_source: the file that all of them come from; None if they are not all known.
        stdout: its printed times, if they were kept.
        warnings: what was left out or could not be read.
    """

    log: Log
    args: dict[str, Any]
    args_source: Path | None
    stdout: StdoutLog | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Host:
    """A code base that the plug-in goes into.

    Attributes:
        name: as in its recipe in `patches/`.
        title: in words.
        wrote: whether a log, of which it gets the first bytes, is this host's.
        find_log: the log of a run's folder; None if there is none.
        read_run: reads a log and what lies beside it; raises ReportError where it cannot be used.
        many_from: fewest training images of a many-shot class.
        few_to: most training images of a few-shot class.
        epochs_on: what the results of its epochs are on, in words.
        notes: what a reader of its numbers has to know.
        times: where its times come from.
        no_times: what to do where there are none.
        irrelevant: its arguments that say where or how often a run was made.
    """

    name: str
    title: str
    wrote: Callable[[bytes], bool]
    find_log: Callable[[Path], Path | None]
    read_run: Callable[[Path], RunFiles]
    many_from: int
    few_to: int
    epochs_on: str
    notes: tuple[str, ...]
    times: str
    no_times: str
    irrelevant: frozenset[str]
