"""The identity of a run, kept inside each file that it writes, and the writer that tells runs in a folder apart.

File names and times do not identify the run.

A run is a chain of starts: each start of the training goes on from an epoch of the start before it. A file names the
start that wrote it and the earlier ones of its chain, in the comment of the .npz archive (`unzip -z` shows it). So the
arrays in the file are the same as without it.
"""

from __future__ import annotations

import re
import secrets
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlltr_plugin.runs.epoch_files import numbered_files, write_arrays

if TYPE_CHECKING:
    from torch import Tensor  # reports need no torch

_TEXT = re.compile(r"vlltr-plugin run (\d+):((?: [0-9a-f]*@\d+)+)")


@dataclass(frozen=True)
class RunIdentity:
    """One start of a run, and the starts that it goes on from."""

    number: int
    """Larger than those of all starts that were known when this one began, so the largest is the newest."""
    starts: tuple[tuple[str, int], ...]
    """Id and first epoch of each start in the chain, in ascending order of the epochs; the last one is this."""

    def has(self, epoch: int, written_by: RunIdentity) -> bool:
        """Whether the file of an epoch that a start has written is a part of this run."""
        own = next((start for start, first in reversed(self.starts) if first <= epoch), None)
        return own == written_by.starts[-1][0]

    def __str__(self) -> str:
        return f"vlltr-plugin run {self.number}:" + "".join(f" {start}@{first}" for start, first in self.starts)


UNNAMED = RunIdentity(0, (("", 0),))
"""The identity of files and states that name none."""


def new_start(first: int, before: RunIdentity | None, known: Iterable[RunIdentity]) -> RunIdentity:
    """Begins a start."""
    line = () if before is None else tuple(start for start in before.starts if start[1] < first)
    numbers = [0 if before is None else before.number, *(start.number for start in known)]
    return RunIdentity(1 + max(numbers), (*line, (secrets.token_hex(6), first)))  # no random generator of the run's


def identity_of(text: object) -> RunIdentity:
    """The identity in a text; `UNNAMED` if there is none."""
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


class EpochWriter:
    """Writes epochs into the folder of a run, and reads which epochs there are the run's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run: RunIdentity | None = None  # until the first epoch has ended, the run that this start goes on from
        self.abandoned: int | None = None  # files of other starts from this epoch on are replaced by this start's
        self._first: int | None = None  # epoch of this start; that of the first `begin` where it is not given
        self._last: int | None = None  # epoch that ended in this start
        self._known = set(_identities(folder).values())

    def newest_runs(self) -> set[RunIdentity]:
        """The newest runs of the folder, this one included: one, or none, or several that did not know of another."""
        self._known = set(_identities(self.folder).values())
        return newest([*self._known, self.run])

    def files_of(self, run: RunIdentity | None) -> dict[int, Path]:
        """The files of a run's epochs, in order; those that cannot be read are in it, too."""
        files, found = numbered_files(self.folder), _identities(self.folder)
        return {epoch: files[epoch] for epoch, by in found.items() if by is None or (run and run.has(epoch, by))}

    def go_on_from(self, run: RunIdentity | None, first: int | None = None) -> None:
        """Goes on from another start of a run, from the next epoch on that ends."""
        self.run, self._first, self._last = run, first, None

    def begin(self, epoch: int) -> None:
        """Before an epoch that ended is written; FileExistsError where another process writes into the folder."""
        if self._last is None or epoch <= self._last:
            first = epoch if self._first is None or self._last is not None else self._first
            self.run, self._first = new_start(first, self.run, filter(None, self._known)), first
            self.abandoned = first
        self._last = epoch
        if others := [n for n, by in _identities(self.folder).items() if by not in {*self._known, self.run, None}]:
            raise FileExistsError(
                f"another process has written epoch {others[0]} there since this run began: remove its files, or give "
                "each run a folder of its own"
            )

    def remove_abandoned(self) -> None:
        """Removes the abandoned files; needs no room on the disk."""
        for epoch, path in numbered_files(self.folder).items():
            if self.abandoned is not None and epoch >= self.abandoned and read_identity(path) != self.run:
                path.unlink()

    def write(self, epoch: int, arrays: dict[str, Tensor]) -> None:
        """Writes the file of an epoch, after `begin`, or raises OSError and leaves nothing partial behind."""
        write_arrays(self.folder, epoch, arrays, str(self.run))


def _identities(folder: Path) -> dict[int, RunIdentity | None]:
    return {epoch: read_identity(path) for epoch, path in numbered_files(folder).items()}
