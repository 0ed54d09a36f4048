"""Install, uninstall and status: all changes are planned first, then made all or none."""

from __future__ import annotations

import difflib
import enum
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin import __version__
from vlltr_plugin.errors import AnchorError
from vlltr_plugin.install.checkout import AUTO, open_checkout, other_files, overriding_classes
from vlltr_plugin.install.config_copies import FOLDER, FOREIGN, copies, differences, kind, present, supplied
from vlltr_plugin.install.files import Change, apply, leftovers, remove_if_empty
from vlltr_plugin.install.patcher import Insertions, with_lines, without_lines
from vlltr_plugin.install.recipe import Recipe
from vlltr_plugin.install.syntax import Source, mentions, parse

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
    notes: tuple[str, ...]  # further notes for the user
    recipe: Recipe
    next_command: str = ""  # suggested next command; empty if there is none

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
        """One line with the number of copied configs that change; empty if none does."""
        kinds = {"added": 0, "replaced": 0, "removed": 0}
        for change in self.copies:
            kinds["added" if change.old is None else "removed" if change.new is None else "replaced"] += 1
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return f"{FOLDER.as_posix()}/: {counts} (copied configs)" if counts else ""

    def write(self, changes: tuple[Change, ...]) -> None:
        """Makes the changes in this order, all or none, and removes files left by a killed run."""
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
        if plan.refused and not plan.hand.problems:
            notes.append(f"kept the lines of the plug-in in {plan.patch.file} as they are ({plan.hand}), their places "
                         f"unchecked: {plan.refused}")  # fmt: skip
        notes += overriding_classes(root, plan.patch)[0]
    refused = [plan.refused for plan in plans if plan.refused and plan.hand.problems]
    if refused:
        by_file = "\n".join(f"{patch.file}:\n{patch.by_hand()}" for patch in recipe.patches)
        others = "".join(f"{row}\n" for row in other_files(root, recipe))
        raise AnchorError("; ".join(refused), f"{others}{_ADVICE}{by_file}")
    lines = (Change(root / plan.patch.file, plan.before, plan.after) for plan in plans if plan.after != plan.before)
    then = recipe.next_command.format(checkout=shlex.quote(str(root)))
    report = Report(root, tuple(lines), tuple(changes), tuple(notes), recipe, then)
    if not dry_run:
        # Lines first: with lines only, the host runs as before, but a config without lines would train a baseline.
        report.write(report.lines + report.copies)
    return report


def uninstall(path: str | Path, *, dry_run: bool = False) -> Report:
    """Removes everything from a checkout that `install` added; repeating it changes nothing.

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
        # Lines last, in reverse order: a remaining config must not train a baseline.
        report.write(report.copies + report.lines[::-1])
        remove_if_empty(root / FOLDER, root / FOLDER.parent)
    return report


class State(enum.Enum):
    """Installation states of a checkout."""

    ABSENT = "not installed"
    PARTIAL = "partly installed"
    INSTALLED = "installed"


@dataclass(frozen=True)
class Status:
    """The installation status of a checkout."""

    checkout: Path
    state: State
    versions: tuple[str, ...]  # of the plug-in, that the inserted lines state
    problems: tuple[str, ...]  # problems; empty if there are none
    notes: tuple[str, ...]  # notes on what is not a problem, such as edited configs

    @property
    def fits(self) -> bool:
        """True if the plug-in is installed without problems."""
        return self.state is State.INSTALLED and not self.problems

    def __str__(self) -> str:
        version = f" from version {' and '.join(self.versions)}" if self.versions else ""
        verdict = "" if self.state is State.ABSENT else ", and fits" if self.fits else ", but does not fit"
        rows = [f"{self.checkout}: {self.state.value}{version}{verdict} (this is version {__version__})"]
        return "\n".join([*rows, *(f"  problem: {row}" for row in self.problems), *(f"  {row}" for row in self.notes)])


def status(path: str | Path) -> Status:
    """Finds out what is installed in a checkout; writes nothing.

    Raises:
        InstallError: if the path is no checkout of a known host.
    """
    root, recipe = open_checkout(path)
    files = [with_lines((root / patch.file).read_bytes(), patch, root) for patch in recipe.patches]
    kept = [file for file in files if file.kept]
    others = [file for file in files if not file.kept]
    marked = [line for file in files for line in file.marked]
    found = present(root) if recipe.copies else {}
    copied = sum(kind(text) != FOREIGN for text in found.values())
    left = leftovers((root / file for file in recipe.files), root / FOLDER)
    problems = [f"{path} was left by an interrupted run: install or uninstall again" for path in left]
    refused = "; ".join(file.refused for file in others if file.refused)
    notes = [f"{file.patch.file}: all lines are there ({file.hand}), inserted by hand; their places are not checked: "
             f"{file.refused}" for file in kept]  # fmt: skip
    if marked or kept:
        problems += [f"{file.patch.file}: {row}" for file in others for row in _misplaced(file)]
        problems += [refused] if refused else []
        notes += [f"{file.patch.file}: {row}" for file in files for row in _movable(file)]
        notes += differences(root) if recipe.copies else []
    else:
        notes += [f"install would be refused: {refused}" if refused else f"install would fit ({recipe.host})"]
        notes += other_files(root, recipe) if refused else []
        problems += [f"{FOLDER} holds {copied} copied configs, but {recipe.files[0]} no line"] if copied else []
        problems += [row for file in files for row in _unmarked(file)]
    for file in files:
        rows, all_override = overriding_classes(root, file.patch)
        (problems if all_override and file.complete else notes).extend(rows)
    interrupted = left and recipe.copies and not supplied().keys() <= found.keys()
    whole = all(file.complete for file in files) and not interrupted
    state = State.INSTALLED if whole else State.PARTIAL if marked or copied else State.ABSENT
    versions = tuple(sorted({line.version for line in marked}))
    if versions not in ((), (__version__,)):
        notes.append("lines of another version: `install` brings them up to this one")
    return Status(root, state, versions, tuple(problems), tuple(notes))


def _misplaced(file: Insertions) -> list[str]:
    """Lines that are missing, unknown, duplicated, or where this version would not leave them."""
    places = {anchor.insertion.line: (anchor.line, anchor.also) for anchor in file.anchors}
    known = [item.line for item in file.patch.insertions]
    seen = [line.code for line in file.marked]
    rows = [f"missing line `{code}`" for code in known if code not in seen]
    rows += [f"line {line.index + 1} is not a line of this version: `{line.code}`"
             for line in file.marked if line.code not in known]  # fmt: skip
    rows += [f"line `{code}` is there {seen.count(code)} times" for code in known if seen.count(code) > 1]
    rows += [f"line {line.index + 1} is not where this version would put it: `{line.code}`"
             for line in file.marked if line.code in places and line.at not in places[line.code]]  # fmt: skip
    return rows


def _movable(file: Insertions) -> list[str]:
    """Correct lines that `install` would move."""
    also = {anchor.insertion.line: anchor.also for anchor in file.anchors if anchor.also is not None}
    return [f"line {line.index + 1}, `{line.code}`, stands above code that may be settings for torch: `install` "
            "moves it below" for line in file.marked if also.get(line.code) == line.at]  # fmt: skip


def _unmarked(file: Insertions) -> list[str]:
    """Lines that use the plug-in without a marker, so that uninstall would not find them."""
    try:
        lines = mentions(parse(file.before), file.patch.reserved)
    except SyntaxError:
        return []
    return [f"{file.patch.file}: line {lines[0]} uses the plug-in without its marker comment"] if lines else []
