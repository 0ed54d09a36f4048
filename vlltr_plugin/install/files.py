"""Changes of several files that take effect all together or not at all, each file replaced in one step."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.install.errors import InstallError

_TEMPORARY = ".vlltr-tmp"


@dataclass(frozen=True)
class Change:
    """A new content for a file.

    Args:
        path: the file.
        old: its bytes now; None if there is no file.
        new: its bytes afterwards; None to remove it.
    """

    path: Path
    old: bytes | None
    new: bytes | None


def read(path: Path) -> bytes | None:
    """A file's bytes; None if there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def apply(changes: Iterable[Change]) -> None:
    """Make all changes in order, or none.

    Args:
        changes: what to do. A process killed between two files leaves the first ones changed, so put the file that
            decides last.

    Raises:
        InstallError: if a file is read-only or cannot be written, or changed in the meantime; all is as before.
    """
    started: list[Change] = []
    folders: list[Path] = []
    try:
        for change in changes:
            _check(change)
            folders += _make_folder(change.path.parent)
            started.append(change)
            _put(change.path, change.new)
    except BaseException as error:
        lost = _roll_back(started, folders)
        if lost:
            raise InstallError(f"failed ({error}), and could not restore {', '.join(map(str, lost))}") from error
        if isinstance(error, OSError):
            raise InstallError(f"could not write ({error}); the checkout is as it was") from error
        raise


def _check(change: Change) -> None:
    """Refuse files that somebody protected or changed since they were read."""
    if change.old is None:
        if change.path.exists():
            raise InstallError(f"{change.path} appeared in the meantime; nothing was written, try again")
        return
    if not change.path.stat().st_mode & stat.S_IWUSR:
        raise InstallError(f"{change.path} is read-only; nothing was written. Make it writable (chmod u+w) first")
    if change.path.read_bytes() != change.old:
        raise InstallError(f"{change.path} changed in the meantime; nothing was written, try again")


def _put(path: Path, data: bytes | None) -> None:
    """Replace, create or remove a file in one step, keeping its mode."""
    if data is None:
        path.unlink(missing_ok=True)
        return
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)  # of a run that was killed
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> list[Path]:
    """Create a folder and its parents; returns the new ones, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    for path in missing:
        path.mkdir(exist_ok=True)
    return missing


def _roll_back(started: list[Change], folders: list[Path]) -> list[Path]:
    """Restore the files of begun changes; returns those that could not be restored."""
    lost: list[Path] = []
    for change in reversed(started):
        try:
            if read(change.path) != change.old:
                _put(change.path, change.old)
        except OSError:
            lost.append(change.path)
    remove_if_empty(*reversed(folders))
    return lost


def remove_if_empty(*folders: Path) -> None:
    """Remove folders, innermost first, up to the first that is not empty or not there."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def leftovers(path: Path, folder: Path) -> list[Path]:
    """Temporary files that a killed run left beside a file and in a folder."""
    candidates = [_temporary(path), *sorted(folder.glob(f".*{_TEMPORARY}"))]
    return [candidate for candidate in candidates if candidate.exists() or candidate.is_symlink()]


def _temporary(path: Path) -> Path:
    """Where a file's new content is written first: the same folder, so that replacing it is one step."""
    return path.with_name(f".{path.name}{_TEMPORARY}")
