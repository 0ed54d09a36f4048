"""Changes several files, all or none; each file is replaced in one step."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.errors import InstallError

_TEMPORARY = ".vlltr-tmp"


@dataclass(frozen=True)
class Change:
    """A new content for a file."""

    path: Path
    old: bytes | None  # its bytes now; None if there is no file
    new: bytes | None  # its bytes afterwards; None to remove it


def apply(changes: Iterable[Change]) -> None:
    """Makes all changes in order, or none.

    First writes all new contents to temporary files beside the originals, then renames them one by one. A process
    killed before the first rename has changed nothing; one killed between two renames leaves temporary files (see
    `leftovers`).

    Raises:
        InstallError: if a file is read-only, cannot be written, or changed in the meantime; nothing is changed then.
    """
    changes = list(changes)
    started: list[Change] = []
    folders: list[Path] = []
    try:
        for change in changes:
            _check(change)
            missing = [folder for folder in change.path.parents if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                folders.append(folder)
            _stage(change)
        for change in changes:
            _check(change)
            started.append(change)
            _put_in_place(change)
    except BaseException as error:
        lost = _roll_back(changes, started, folders)
        if lost:
            raise InstallError(f"failed ({error}), and could not restore {', '.join(map(str, lost))}") from error
        if isinstance(error, OSError):
            raise InstallError(f"could not write ({error}); the checkout is as it was") from error
        raise


def _check(change: Change) -> None:
    """Raises InstallError for files that are read-only or have changed since they were read."""
    if change.old is None:
        if change.path.exists():
            raise InstallError(f"{change.path} appeared in the meantime; nothing was written, try again")
        return
    if not change.path.stat().st_mode & stat.S_IWUSR:
        raise InstallError(f"{change.path} is read-only; nothing was written. Make it writable (chmod u+w) first")
    if change.path.read_bytes() != change.old:
        raise InstallError(f"{change.path} changed in the meantime; nothing was written, try again")


def _stage(change: Change) -> None:
    """Writes a new content beside its file, with the file's mode."""
    if change.new is None:
        return
    temporary = _temporary(change.path)
    temporary.unlink(missing_ok=True)  # left by a killed run
    with temporary.open("xb") as file:
        file.write(change.new)
        file.flush()
        os.fsync(file.fileno())
    if change.path.exists():
        temporary.chmod(stat.S_IMODE(change.path.stat().st_mode))


def _put_in_place(change: Change) -> None:
    """Replaces, creates or removes a file whose new content is staged, in one step."""
    if change.new is None:
        change.path.unlink(missing_ok=True)
    else:
        os.replace(_temporary(change.path), change.path)


def _roll_back(changes: list[Change], started: list[Change], folders: list[Path]) -> list[Path]:
    """Restores changed files and removes staged ones; returns the files that could not be restored."""
    lost: list[Path] = []
    for change in reversed(started):
        back = Change(change.path, change.new, change.old)
        try:
            if (change.path.read_bytes() if change.path.exists() else None) != change.old:
                _stage(back)
                _put_in_place(back)
        except OSError:
            lost.append(change.path)
    for change in changes:
        with contextlib.suppress(OSError):
            _temporary(change.path).unlink(missing_ok=True)
    remove_if_empty(*reversed(folders))
    return lost


def remove_if_empty(*folders: Path) -> None:
    """Removes empty folders, innermost first; stops at the first that is not empty or does not exist."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def leftovers(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Temporary files that a killed run left beside files and in a folder."""
    candidates = [*map(_temporary, paths), *sorted(folder.glob(f".*{_TEMPORARY}"))]
    return [candidate for candidate in candidates if candidate.exists() or candidate.is_symlink()]


def _temporary(path: Path) -> Path:
    """The temporary file for a new content, in the same folder, so that one rename replaces the old file."""
    return path.with_name(f".{path.name}{_TEMPORARY}")
