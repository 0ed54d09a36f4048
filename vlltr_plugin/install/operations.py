"""Install into a checkout and uninstall again: first the whole plan, then all of it or nothing."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.errors import AnchorError
from vlltr_plugin.install.checkout import AUTO, open_checkout, other_files
from vlltr_plugin.install.config_copies import FOLDER, copies
from vlltr_plugin.install.files import Change, apply, leftovers, remove_if_empty
from vlltr_plugin.install.overrides import overriding_classes
from vlltr_plugin.install.patcher import with_lines, without_lines
from vlltr_plugin.install.recipe import Recipe
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

    def write(self, changes: tuple[Change, ...]) -> None:
        """Makes the changes in this order, all or none, and removes what a killed run left."""
        for stale in leftovers((self.checkout / file for file in self.recipe.files), self.checkout / FOLDER):
            stale.unlink()
        apply(changes)


def install(path: str | Path, *, host: str = AUTO, files: Sequence[str] = (), dry_run: bool = False) -> Report:
    """Inserts the lines into a checkout and copies the configs; repeating it changes nothing.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    root, recipe = open_checkout(path, host, files)
    changes, notes = copies(root, installing=True) if recipe.copies else ([], [])
    plans = [with_lines((root / patch.file).read_bytes(), patch, root) for patch in recipe.patches]
    for plan in plans:
        if plan.refused and plan.hand.complete:
            notes.append(f"kept the lines of the plug-in in {plan.patch.file} as they are ({plan.hand}), their places "
                         f"unchecked: {plan.refused}")  # fmt: skip
        notes += overriding_classes(root, plan.patch)[0]
    refused = [plan.refused for plan in plans if plan.refused and not plan.hand.complete]
    if refused:
        by_file = "\n".join(f"{patch.file}:\n{patch.by_hand()}" for patch in recipe.patches)
        others = "".join(f"{row}\n" for row in other_files(root, recipe))
        raise AnchorError("; ".join(refused), f"{others}{_ADVICE}{by_file}")
    lines = (Change(root / plan.patch.file, plan.before, plan.after) for plan in plans if plan.after != plan.before)
    then = recipe.next_command.format(checkout=shlex.quote(str(root)))
    report = Report(root, tuple(lines), tuple(changes), tuple(notes), recipe, then)
    if not dry_run:
        # The lines first: with them alone the host runs as ever, but a config without them would train a baseline.
        report.write(report.lines + report.copies)
    return report


def uninstall(path: str | Path, *, dry_run: bool = False) -> Report:
    """Takes everything out of a checkout that `install` put in; repeating it changes nothing.

    Raises:
        InstallError: if it cannot be done; then nothing was written.
    """
    root, recipe = open_checkout(path)
    changes, notes = copies(root, installing=False) if recipe.copies else ([], [])
    lines = []
    for patch in recipe.patches:
        old = (root / patch.file).read_bytes()
        new = without_lines(old, patch)
        lines += [Change(root / patch.file, old, new)] if old != new else []
    report = Report(root, tuple(lines), tuple(changes), tuple(notes), recipe)
    if not dry_run:
        # The lines last, in the reverse order: a config that is still there must not train a baseline.
        report.write(report.copies + report.lines[::-1])
        remove_if_empty(root / FOLDER, root / FOLDER.parent)
    return report
