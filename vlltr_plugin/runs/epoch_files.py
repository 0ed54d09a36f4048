"""The arrays of a run's epochs, `reweight/epoch_*.npz`: written atomically, each with its run's identity; read safely.

File names and times do not identify a run. A run is a chain of starts: each start resumes from an epoch of the start
before it. The comment of the .npz archive (`unzip -z` shows it) names the start that wrote the file and the earlier
starts of its chain. It does not change the arrays.
"""

from __future__ import annotations

import io
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor  # so that reports need no torch

FOLDER = "reweight"
NAME = re.compile(r"epoch_(\d+)\.npz")
ZIP = b"PK\x03\x04"
_RUN = re.compile(r"vlltr-plugin run (\d+):((?: [0-9a-f]*@\d+)+)")
STATE = "state."  # prefix of a criterion's state, which is not an array over classes; see `training.hook`
WEIGHTS = "weights_"  # prefix; the name of the logits that feed them follows
OF_WEIGHTS = ("log_radius", "substituted")  # stored with every `weights_`, with the same suffix
# Errors from reading a damaged .npz; RuntimeError if a flag marks it as encrypted or unknown compression.
BROKEN = (ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """Radii and weights from one kind of logits in an epoch; arrays `[C]`, None if not in the file."""

    in_force: Floats  # alpha during the epoch
    log_radius: Floats  # log r after the epoch: as measured in it, or kept if it measured none
    substituted: NDArray[np.bool_]  # classes that were given the mean log radius of the others
    samples: Floats  # independent samples behind each radius: 0 without radii; NaN if not in the file (not known)
    next_weights: Floats | None = None  # alpha of the next epoch
    bias: Floats | None = None  # expected bias of log r from few samples (how far it is too low)


@dataclass(frozen=True)
class EpochArrays:
    """The arrays of one epoch; `[C]` each."""

    epoch: int  # from 0
    counts: NDArray[np.int64]  # training images n
    draws: Floats  # expected draws m of an epoch
    by_logits: dict[str, Weights]  # keyed by the logits that feed them; the first is in the log
    drawn: Floats | None = None  # samples drawn in the epoch; None if not in the file


def write_arrays(output_dir: Path, epoch: int, arrays: Mapping[str, Tensor], comment: str = "") -> Path:
    """Writes `reweight/epoch_0007.npz` with an archive comment; an OSError leaves no partial file."""
    path = output_dir / FOLDER / f"epoch_{epoch:04d}.npz"
    buffer = io.BytesIO()
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    np.savez(buffer, **plain)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = comment.encode()
    write_whole(path, buffer.getvalue())
    return path


def epoch_files(run: Path) -> dict[int, Path]:
    """The files of a run's epochs, in order; ReportError if there are none."""
    if not run.is_dir():
        raise ReportError(f"Expected the folder of a run but {run} is {'a file' if run.exists() else 'not there'}.")
    files = numbered_files(run)
    if not files:
        inside = sorted(folder for folder in run.iterdir() if folder.is_dir() and numbered_files(folder))
        if inside:
            raise ReportError(f"Expected the folder of a run but {run} holds the runs {', '.join(map(str, inside))}.")
        raise ReportError(
            f"Expected {FOLDER}/epoch_*.npz in {run} but found none: only re-weighted runs have them, from the end of "
            "the first epoch on."
        )
    return files


def numbered_files(run: Path) -> dict[int, Path]:
    """As `epoch_files`, but empty if there are none."""
    folder = run / FOLDER
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("epoch_*.npz")] if folder.is_dir() else []
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def read_epoch(epoch: int, path: Path) -> EpochArrays:
    """Reads one file without unpickling; ReportError if it is damaged or holds something else."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:
                raise ValueError("it is no .npz archive")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files if not name.startswith(STATE)}
    except BROKEN as error:
        reason = " ".join(str(error).split())[:120]
        raise ReportError(f"{path}: expected an .npz of plain arrays but could not read it ({reason}).") from error
    names = [key.removeprefix(WEIGHTS) for key in arrays if key.startswith(WEIGHTS)]
    needed = ["counts", "draws", *(f"{key}_{name}" for name in names for key in OF_WEIGHTS)]
    missing = [key for key in needed if key not in arrays]
    if missing or not names:
        raise ReportError(
            f"{path}: expected the arrays of an epoch but {', '.join(missing) or 'weights_*'} is missing."
        )
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(shapes.pop()) != 1 or any(array.dtype.kind not in "fiub" for array in arrays.values()):
        raise ReportError(
            f"{path}: expected one number for each class in every array; this file was not written by the plug-in."
        )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ReportError(f"{path}: expected finite numbers.")
    positive = [arrays[WEIGHTS + name] for name in names]
    if any((weights <= 0).any() for weights in positive) or not ((arrays["counts"] > 0) & (arrays["draws"] > 0)).any():
        raise ReportError(f"{path}: expected positive weights, and a class that has images and is drawn.")
    return _epoch_arrays(epoch, arrays, names)


def _epoch_arrays(epoch: int, arrays: dict[str, NDArray[Any]], names: list[str]) -> EpochArrays:
    """The checked arrays of a file."""
    floats = {name: array.astype(np.float64) for name, array in arrays.items()}
    by_logits = {
        name: Weights(
            in_force=floats[WEIGHTS + name],
            log_radius=floats[f"log_radius_{name}"],
            substituted=arrays[f"substituted_{name}"].astype(bool),
            samples=floats.get(f"samples_{name}", np.full(len(arrays["counts"]), np.nan)),
            next_weights=floats.get(f"next_weights_{name}"),
            bias=floats.get(f"bias_{name}"),
        )
        for name in names
    }
    return EpochArrays(epoch, arrays["counts"].astype(np.int64), floats["draws"], by_logits, floats.get("drawn"))


@dataclass(frozen=True)
class RunIdentity:
    """One start of a run, and the starts that it resumed from."""

    number: int  # larger than the number of every start known when this one began, so the largest is the newest
    starts: tuple[tuple[str, int], ...]  # id and first epoch of each start, by ascending epochs; the last one is this

    def has(self, epoch: int, written_by: RunIdentity) -> bool:
        """True if this run includes the file of an epoch written by the given start."""
        own = next((start for start, first in reversed(self.starts) if first <= epoch), None)
        return own == written_by.starts[-1][0]

    def __str__(self) -> str:
        return f"vlltr-plugin run {self.number}:" + "".join(f" {start}@{first}" for start, first in self.starts)


UNNAMED = RunIdentity(0, (("", 0),))  # identity of files and states that name no run


def new_start(first: int, before: RunIdentity | None, known: Iterable[RunIdentity]) -> RunIdentity:
    """Begins a start."""
    line = () if before is None else tuple(start for start in before.starts if start[1] < first)
    numbers = [0 if before is None else before.number, *(start.number for start in known)]
    return RunIdentity(1 + max(numbers), (*line, (secrets.token_hex(6), first)))  # not the run's random generators


def identity_of(text: object) -> RunIdentity:
    """The identity in a text; `UNNAMED` if there is none."""
    match = _RUN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return UNNAMED
    starts = [part.split("@") for part in match[2].split()]
    return RunIdentity(int(match[1]), tuple((start, int(first)) for start, first in starts))


def read_identity(path: Path) -> RunIdentity | None:
    """The identity of the run that wrote the file of an epoch; None if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return identity_of(archive.comment.decode("ascii", "replace"))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None


def newest(known: Iterable[RunIdentity | None]) -> set[RunIdentity]:
    """The newest starts: more than one if they did not know of each other."""
    starts = {start for start in known if start is not None}
    largest = max((start.number for start in starts), default=0)
    return {start for start in starts if start.number == largest}


class EpochWriter:
    """Writes epochs into a run's folder, and finds which of the epochs there belong to the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run: RunIdentity | None = None  # until the first epoch ends: the run that this start resumes from
        self.abandoned: int | None = None  # this start replaces files of other starts from this epoch on
        self._first: int | None = None  # first epoch of this start; by default that of the first `begin`
        self._last: int | None = None  # last epoch that ended in this start
        self._known = set(_identities(folder).values())

    def newest_runs(self) -> set[RunIdentity]:
        """The newest runs in the folder, including this one; several if they did not know of each other."""
        self._known = set(_identities(self.folder).values())
        return newest([*self._known, self.run])

    def files_of(self, run: RunIdentity | None) -> dict[int, Path]:
        """The files of a run's epochs, in order, including unreadable ones."""
        files, found = numbered_files(self.folder), _identities(self.folder)
        return {epoch: files[epoch] for epoch, by in found.items() if by is None or (run and run.has(epoch, by))}

    def resume_from(self, run: RunIdentity | None, first: int | None = None) -> None:
        """Continues the run of another start, beginning with the next epoch that ends."""
        self.run, self._first, self._last = run, first, None

    def begin(self, epoch: int) -> None:
        """Call before an epoch is written; FileExistsError if another process writes into the folder."""
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
        """Removes the abandoned files; needs no disk space."""
        for epoch, path in numbered_files(self.folder).items():
            if self.abandoned is not None and epoch >= self.abandoned and read_identity(path) != self.run:
                path.unlink()

    def write(self, epoch: int, arrays: dict[str, Tensor]) -> None:
        """Writes the file of an epoch, after `begin`; an OSError leaves no partial file."""
        write_arrays(self.folder, epoch, arrays, str(self.run))


def _identities(folder: Path) -> dict[int, RunIdentity | None]:
    return {epoch: read_identity(path) for epoch, path in numbered_files(folder).items()}
