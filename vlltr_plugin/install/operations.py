"""Install into a checkout and uninstall again: first the whole plan, then all of it or nothing."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.errors import AnchorError
from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.checkout import AUTO, open_checkout, other_files
from vlltr_plugin.install.config_copies import FOLDER, copies_in, copies_out
from vlltr_plugin.install.files import Change, apply, leftovers, remove_if_empty
from vlltr_plugin.install.overrides import overriding_classes
from vlltr_plugin.install.patcher import with_lines, without_lines
from vlltr_plugin.install.recipe import Recipe
from vlltr_plugin.install.script import Refusal
from vlltr_plugin.install.source import Source

_ADVICE = (
    "Change the file so that the places can be found, or insert the lines by hand and run install again. Use the "
    "names of your variables in them, and keep their comments, so that uninstall finds them. A file whose places "
    "are found gets its lines from install:\n"
)


@dataclass(frozen=True)
class Report:
    """The outcome of installing or uninstalling, or of a dry run."""

    checkout: Path
    lines: tuple[Change, ...]  # the host's files, in the recipe's order
    copies: tuple[Change, ...]  # the copied configs that are written or removed
    notes: tuple[str, ...]  # what the user should know besides
    recipe: Recipe
    next_command: str = ""  # what to type next; empty where nothing follows

    @property
    def changes(self) -> tuple[Change, ...]:
        """Files written or removed."""
        return self.lines + self.copies

    @property
    def host_diff(self) -> str:
        """The changes of the host's own files as a unified diff; empty if there are none."""
        rows: list[str] = []
        for change in self.lines:
            name = change.path.relative_to(self.checkout).as_posix()
            old, new = (Source.of(data or b"").text_lines() for data in (change.old, change.new))
            rows += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
        return "\n".join(rows)

    @property
    def copied(self) -> str:
        """Counts the copied configs that change, in one line; empty if none does."""
        kinds = {"added": 0, "replaced": 0, "removed": 0}
        for change in self.copies:
            kinds["added" if change.old is None else "removed" if change.new is None else "replaced"] += 1
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return f"{FOLDER.as_posix()}/: {counts} (copied configs)" if counts else ""


def install(path: str | Path, *, host: str = AUTO, files: Sequence[str] = (), dry_run: bool = False) -> Report:
    """Inserts the lines into a checkout and copies the configs; repeating it changes nothing.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    root, recipe = open_checkout(path, host, files)
    copies, notes = copies_in(root) if recipe.copies else ([], [])
    lines: list[Change] = []
    refused: list[Refusal] = []
    for patch in recipe.patches:
        old = (root / patch.file).read_bytes()
        try:
            lines.append(Change(root / patch.file, old, with_lines(old, patch, root).data))
        except Refusal as refusal:
            hand = by_hand(old, patch)
            if hand.complete:
                notes.append(f"kept the lines of the plug-in in {patch.file} as they are ({hand}), their places "
                             f"unchecked: {refusal}")  # fmt: skip
            else:
                refused.append(refusal)
        notes += overriding_classes(root, patch)[0]
    if refused:
        by_file = "\n".join(f"{patch.file}:\n{patch.by_hand()}" for patch in recipe.patches)
        others = "".join(f"{row}\n" for row in other_files(root, recipe))
        raise AnchorError("; ".join(map(str, refused)), f"{others}{_ADVICE}{by_file}") from refused[0]
    then = recipe.next_command.format(checkout=shlex.quote(str(root)))
    report = _report(root, lines, copies, notes, recipe, then)
    if not dry_run:
        # The lines first: with them alone the host runs as ever, but a config without them would train a baseline.
        _write(report, report.lines + report.copies)
    return report


def uninstall(path: str | Path, *, dry_run: bool = False) -> Report:
    """Takes everything out of a checkout that `install` put in; repeating it changes nothing.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    root, recipe = open_checkout(path)
    copies, notes = copies_out(root) if recipe.copies else ([], [])
    lines = []
    for patch in recipe.patches:
        old = (root / patch.file).read_bytes()
        lines.append(Change(root / patch.file, old, without_lines(old, patch)))
    report = _report(root, lines, copies, notes, recipe)
    if not dry_run:
        # The lines last, in the reverse order: a config that is still there must not train a baseline.
        _write(report, report.copies + report.lines[::-1])
        remove_if_empty(root / FOLDER, root / FOLDER.parent)
    return report


def _report(
    root: Path, lines: list[Change], copies: list[Change], notes: list[str], recipe: Recipe, then: str = ""
) -> Report:
    changed = (change for change in lines if change.old != change.new)
    return Report(root, tuple(changed), tuple(copies), tuple(notes), recipe, then)


def _write(report: Report, changes: tuple[Change, ...]) -> None:
    for stale in leftovers((report.checkout / file for file in report.recipe.files), report.checkout / FOLDER):
        stale.unlink()
    apply(changes)
