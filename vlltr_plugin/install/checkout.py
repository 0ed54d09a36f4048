"""Install into a checkout and uninstall again: first the whole plan, then all of it or nothing."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.install.config_copies import FOLDER, copies_in, copies_out
from vlltr_plugin.install.errors import AnchorError, InstallError
from vlltr_plugin.install.files import Change, apply, leftovers, remove_if_empty
from vlltr_plugin.install.patcher import patched, unpatched
from vlltr_plugin.install.recipe import Recipe, load_recipe
from vlltr_plugin.install.source import Source


@dataclass(frozen=True)
class Report:
    """What an operation did (or would do).

    Args:
        checkout: the checkout.
        changes: files written or removed.
        notes: what the user should know besides.
    """

    checkout: Path
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def diff(self) -> str:
        """The changes as a unified diff; empty if there are none."""
        return "\n".join(line for change in self._in_order() for line in self._file_diff(change))

    def _in_order(self) -> list[Change]:
        """Changed files before the added and removed ones: what matters comes first."""
        return sorted(self.changes, key=lambda change: change.old is None or change.new is None)

    def _file_diff(self, change: Change) -> list[str]:
        name = change.path.relative_to(self.checkout).as_posix()
        old, new = (Source.of(data or b"").text_lines() for data in (change.old, change.new))
        old_name = "/dev/null" if change.old is None else f"a/{name}"
        new_name = "/dev/null" if change.new is None else f"b/{name}"
        return list(difflib.unified_diff(old, new, old_name, new_name, lineterm=""))


def open_checkout(path: str | Path, recipe: Recipe) -> Path:
    """Check that a path can be worked on.

    Args:
        path: what the user gave.
        recipe: names the file to change.

    Returns:
        The checkout's real path.

    Raises:
        InstallError: if it is no folder, has no `main.py`, or a file or folder to change in it is a symbolic link
            (replacing a link, or writing through it, would change something else than this checkout).
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InstallError(f"{root}: expected the folder of a VL-LTR checkout, but this is no folder")
    root = root.resolve()
    copies = sorted((root / FOLDER).glob("*.py"))
    for part in (root / recipe.file, *reversed((root / FOLDER / "x").relative_to(root).parents), *copies):
        part = root / part
        if part.is_symlink():
            raise InstallError(
                f"{part} is a symbolic link to {os.readlink(part)}: expected a real file or folder. "
                "Give the checkout that holds the real one, or replace the link by a copy; nothing was written"
            )
    if not (root / recipe.file).is_file():
        raise InstallError(f"{root} has no {recipe.file}: expected the folder of a VL-LTR checkout")
    return root


def install(path: str | Path, *, dry_run: bool = False) -> Report:
    """Insert the lines into a checkout and copy the configs; repeating it changes nothing.

    Args:
        path: the checkout.
        dry_run: whether to plan only and write nothing.

    Returns:
        What was done.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    recipe = load_recipe()
    root = open_checkout(path, recipe)
    changes, notes = copies_in(root)
    old = (root / recipe.file).read_bytes()
    try:
        new = patched(old, recipe)
    except AnchorError as error:
        if not has_all_lines(old, recipe):
            raise
        new = old
        reason = str(error).splitlines()[0].removesuffix("; nothing was written")
        notes.append(f"kept the marked lines in {recipe.file} as they are, their places unchecked: {reason}")
    # main.py first: with its lines alone the host runs as ever, but a config without them would train a baseline.
    plan = [*_changed(root / recipe.file, old, new), *changes]
    return _carry_out(Report(root, tuple(plan), tuple(notes)), recipe, dry_run)


def uninstall(path: str | Path, *, dry_run: bool = False) -> Report:
    """Take everything out of a checkout that `install` put in; repeating it changes nothing.

    Args:
        path: the checkout.
        dry_run: whether to plan only and write nothing.

    Returns:
        What was done; its notes name edited configs, which stay.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    recipe = load_recipe()
    root = open_checkout(path, recipe)
    changes, notes = copies_out(root)
    old = (root / recipe.file).read_bytes()
    # main.py last: a config that is still there must not train a baseline.
    plan = [*changes, *_changed(root / recipe.file, old, unpatched(old, recipe))]
    return _carry_out(
        Report(root, tuple(plan), tuple(notes)),
        recipe,
        dry_run,
        lambda: remove_if_empty(root / FOLDER, root / FOLDER.parent),
    )


def has_all_lines(data: bytes, recipe: Recipe) -> bool:
    """Whether a file holds each of the recipe's lines once, marked, wherever they stand."""
    present = sorted(line.code for line in Source.of(data).marked())
    return present == sorted(item.line for item in recipe.insertions)


def _changed(path: Path, old: bytes, new: bytes) -> list[Change]:
    return [] if old == new else [Change(path, old, new)]


def _carry_out(report: Report, recipe: Recipe, dry_run: bool, finish: Callable[[], None] = lambda: None) -> Report:
    """Write what a report plans, unless it is only a rehearsal."""
    if not dry_run:
        for stale in leftovers(report.checkout / recipe.file, report.checkout / FOLDER):
            stale.unlink()
        apply(report.changes)
        finish()
    return report
