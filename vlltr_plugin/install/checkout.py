"""Install into a checkout and uninstall again: first the whole plan, then all of it or nothing."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vlltr_plugin.errors import AnchorError
from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.choose import AUTO, is_own, open_checkout, other_files
from vlltr_plugin.install.config_copies import FOLDER, copies_in, copies_out
from vlltr_plugin.install.files import Change, apply, leftovers, remove_if_empty
from vlltr_plugin.install.overrides import untouched_classes
from vlltr_plugin.install.patcher import advice, patched, unpatched
from vlltr_plugin.install.recipe import Recipe
from vlltr_plugin.install.source import Source


@dataclass(frozen=True)
class Report:
    """What an operation did (or would do).

    Attributes:
        checkout: the checkout.
        changes: files written or removed.
        notes: what the user should know besides.
        recipe: what the checkout is of.
        next_command: what to type next; empty where nothing follows.
    """

    checkout: Path
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    recipe: Recipe
    next_command: str = ""

    @property
    def diff(self) -> str:
        """All changes as a unified diff, the host's files first; empty if there are none."""
        return "\n".join(line for change in self._hosts() + self._copies() for line in self._file_diff(change))

    @property
    def host_diff(self) -> str:
        """The changes of the host's own files as a unified diff; empty if there are none."""
        return "\n".join(line for change in self._hosts() for line in self._file_diff(change))

    @property
    def copied(self) -> str:
        """What happens to the copied configs, in one line; empty if nothing does."""
        kinds = {"added": 0, "replaced": 0, "removed": 0}
        for change in self._copies():
            kinds["added" if change.old is None else "removed" if change.new is None else "replaced"] += 1
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return f"{FOLDER.as_posix()}/: {counts} (copied configs)" if counts else ""

    def _hosts(self) -> list[Change]:
        files = [self.checkout / file for file in self.recipe.files]
        return sorted((c for c in self.changes if c.path in files), key=lambda change: files.index(change.path))

    def _copies(self) -> list[Change]:
        return [change for change in self.changes if change not in self._hosts()]

    def _file_diff(self, change: Change) -> list[str]:
        name = change.path.relative_to(self.checkout).as_posix()
        old, new = (Source.of(data or b"").text_lines() for data in (change.old, change.new))
        old_name = "/dev/null" if change.old is None else f"a/{name}"
        new_name = "/dev/null" if change.new is None else f"b/{name}"
        return list(difflib.unified_diff(old, new, old_name, new_name, lineterm=""))


def install(path: str | Path, *, host: str = AUTO, files: Sequence[str] = (), dry_run: bool = False) -> Report:
    """Inserts the lines into a checkout and copies the configs; repeating it changes nothing.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    root, recipe = open_checkout(path, host, files)
    copies, notes = copies_in(root) if recipe.copies else ([], [])
    lines: list[Change] = []
    refused: list[AnchorError] = []
    for patch in recipe.patches:
        old = (root / patch.file).read_bytes()
        try:
            lines += _changed(root / patch.file, old, patched(old, patch, partial(is_own, root)))
        except AnchorError as error:
            hand = by_hand(old, patch)
            if hand.complete:
                notes.append(f"kept the lines of the plug-in in {patch.file} as they are ({hand}), their places "
                             f"unchecked: {error.reason}")  # fmt: skip
            else:
                refused.append(error)
        notes += untouched_classes(root, patch)[0]
    if refused:
        reasons = "; ".join(error.reason for error in refused)
        others = "".join(f"{row}\n" for row in other_files(root, recipe))
        raise AnchorError(reasons, others + advice(recipe.patches)) from refused[0]
    # The lines first: with them alone the host runs as ever, but a config without them would train a baseline.
    then = recipe.next_command.format(checkout=shlex.quote(str(root)))
    return _carry_out(Report(root, (*lines, *copies), tuple(notes), recipe, then), dry_run)


def uninstall(path: str | Path, *, dry_run: bool = False) -> Report:
    """Takes everything out of a checkout that `install` put in; repeating it changes nothing.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    root, recipe = open_checkout(path)
    copies, notes = copies_out(root) if recipe.copies else ([], [])
    lines: list[Change] = []
    for patch in reversed(recipe.patches):
        old = (root / patch.file).read_bytes()
        lines += _changed(root / patch.file, old, unpatched(old, patch))
    # The lines last: a config that is still there must not train a baseline.
    return _carry_out(
        Report(root, (*copies, *lines), tuple(notes), recipe),
        dry_run,
        lambda: remove_if_empty(root / FOLDER, root / FOLDER.parent),
    )


def _changed(path: Path, old: bytes, new: bytes) -> list[Change]:
    return [] if old == new else [Change(path, old, new)]


def _carry_out(report: Report, dry_run: bool, finish: Callable[[], None] = lambda: None) -> Report:
    """Writes what a report plans, unless it is only a rehearsal."""
    if not dry_run:
        for stale in leftovers((report.checkout / file for file in report.recipe.files), report.checkout / FOLDER):
            stale.unlink()
        apply(report.changes)
        finish()
    return report
