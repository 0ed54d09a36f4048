"""The identity of a run, kept inside each file that it writes: file names and times say nothing about it.

A run is a line of starts: each start of the training goes on from an epoch of the start before it. A file names the
start that wrote it and those before it in its line, in the comment of the .npz archive (`unzip -z` shows it), so that
the arrays of a file are the same as without it.
"""

from __future__ import annotations

import re
import secrets
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TEXT = re.compile(r"vlltr-plugin run (\d+):((?: [0-9a-f]*@\d+)+)")


@dataclass(frozen=True)
class RunIdentity:
    """One start of a run, and the starts that it goes on from.

    Attributes:
        number: larger than those of all starts that were known when this one began, so the largest is the newest.
        starts: id and first epoch of each start in the line, in ascending order of the epochs; the last one is this.
    """

    number: int
    starts: tuple[tuple[str, int], ...]

    @property
    def id(self) -> str:
        """The id of this start."""
        return self.starts[-1][0]

    def has(self, epoch: int, written_by: RunIdentity) -> bool:
        """Whether the file of an epoch that a start has written is a part of this run."""
        return next((start for start, first in reversed(self.starts) if first <= epoch), None) == written_by.id

    def __str__(self) -> str:
        return f"vlltr-plugin run {self.number}:" + "".join(f" {start}@{first}" for start, first in self.starts)


UNNAMED = RunIdentity(0, (("", 0),))
"""Of files and states without an identity, which earlier versions have written."""


def new_start(first: int, before: RunIdentity | None, known: Iterable[RunIdentity]) -> RunIdentity:
    """Begins a start."""
    line = () if before is None else tuple(start for start in before.starts if start[1] < first)
    numbers = [0 if before is None else before.number, *(start.number for start in known)]
    return RunIdentity(1 + max(numbers), (*line, (secrets.token_hex(6), first)))  # no random generator of the run's


def identity_of(text: object) -> RunIdentity:
    """The identity that a text tells; `UNNAMED` where it tells none."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return UNNAMED
    starts = [part.split("@") for part in match[2].split()]
    return RunIdentity(int(match[1]), tuple((start, int(first)) for start, first in starts))


def read_identity(path: Path) -> RunIdentity | None:
    """Who wrote the file of an epoch; None where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return identity_of(archive.comment.decode("ascii", "replace"))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None


def newest(known: Iterable[RunIdentity | None]) -> set[RunIdentity]:
    """The newest of some starts: several where none of them knew of the others."""
    starts = {start for start in known if start is not None}
    largest = max((start.number for start in starts), default=0)
    return {start for start in starts if start.number == largest}
