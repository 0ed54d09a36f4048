"""What is installed in a checkout, from which version, and whether it still fits."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin import __version__
from vlltr_plugin.install.bindings import mentions
from vlltr_plugin.install.checkout import open_checkout
from vlltr_plugin.install.config_copies import FOLDER, Kind, differences, kind, present, supplied
from vlltr_plugin.install.errors import AnchorError
from vlltr_plugin.install.files import leftovers
from vlltr_plugin.install.patcher import patched
from vlltr_plugin.install.recipe import Recipe, load_recipe
from vlltr_plugin.install.source import MarkedLine, Source, parse


class State(enum.Enum):
    """How much of the plug-in a checkout holds."""

    ABSENT = "not installed"
    PARTIAL = "partly installed"
    INSTALLED = "installed"


@dataclass(frozen=True)
class Status:
    """What was found in a checkout.

    Args:
        checkout: the checkout.
        state: how much is there.
        versions: plug-in versions that the inserted lines state.
        problems: what does not fit; empty if all is well.
        notes: what is worth knowing but no problem, such as edited configs.
    """

    checkout: Path
    state: State
    versions: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the plug-in is installed and nothing is wrong."""
        return self.state is State.INSTALLED and not self.problems

    def __str__(self) -> str:
        version = f" from version {' and '.join(self.versions)}" if self.versions else ""
        verdict = "" if self.state is State.ABSENT else ", and fits" if self.fits else ", but does not fit"
        rows = [f"{self.checkout}: {self.state.value}{version}{verdict} (this is version {__version__})"]
        return "\n".join([*rows, *(f"  problem: {row}" for row in self.problems), *(f"  {row}" for row in self.notes)])


def status(path: str | Path) -> Status:
    """Look at a checkout; writes nothing.

    Args:
        path: the checkout.

    Returns:
        What is there.

    Raises:
        InstallError: if the path is no VL-LTR checkout.
    """
    recipe = load_recipe()
    root = open_checkout(path, recipe)
    data = (root / recipe.file).read_bytes()
    marked = Source.of(data).marked()
    copies = [name for name, text in present(root).items() if kind(text) is not Kind.FOREIGN]
    left = leftovers(root / recipe.file, root / FOLDER)
    problems = [f"{path} was left by an interrupted run: install or uninstall again" for path in left]
    notes: list[str] = []
    reason, expected = _expected(data, recipe)
    if marked:
        problems += [f"{recipe.file}: {row}" for row in _misplaced(marked, expected, recipe)]
        problems += [reason] if reason else []
        notes += differences(root)
    else:
        notes += [f"install would be refused: {reason}" if reason else "install would fit"]
        problems += [f"{FOLDER} holds {len(copies)} copied configs, but {recipe.file} no line"] if copies else []
        problems += _unmarked_use(data, recipe)
    complete = {line.code for line in marked} >= {item.line for item in recipe.insertions}
    interrupted = bool(left) and not supplied().keys() <= present(root).keys()
    whole = complete and not interrupted
    state = State.INSTALLED if whole else State.PARTIAL if marked or copies else State.ABSENT
    versions = tuple(sorted({line.version for line in marked}))
    if versions not in ((), (__version__,)):
        notes.append("lines of another version: `install` brings them up to this one")
    return Status(root, state, versions, tuple(problems), tuple(notes))


def _expected(data: bytes, recipe: Recipe) -> tuple[str, list[MarkedLine]]:
    """Why this version could not insert its lines (empty if it could), and where it would put them."""
    try:
        return "", Source.of(patched(data, recipe)).marked()
    except AnchorError as error:
        return str(error).splitlines()[0].removesuffix("; nothing was written"), []


def _misplaced(marked: list[MarkedLine], expected: list[MarkedLine], recipe: Recipe) -> list[str]:
    """Lines that are missing, unknown, doubled, or not where this version would put them."""
    places = {line.code: line.at for line in expected}
    known = [item.line for item in recipe.insertions]
    seen = [line.code for line in marked]
    rows = [f"missing line `{code}`" for code in known if code not in seen]
    rows += [f"line {line.index + 1} is not a line of this version: `{line.code}`"
             for line in marked if line.code not in known]  # fmt: skip
    rows += [f"line `{code}` is there {seen.count(code)} times" for code in known if seen.count(code) > 1]
    rows += [f"line {line.index + 1} is not where this version would put it: `{line.code}`"
             for line in marked if line.code in places and line.at != places[line.code]]  # fmt: skip
    return rows


def _unmarked_use(data: bytes, recipe: Recipe) -> list[str]:
    """Lines of the plug-in without a marker, which uninstall would not find."""
    try:
        lines = mentions(parse(data), recipe.reserved)
    except SyntaxError:
        return []
    return [f"{recipe.file}: line {lines[0]} uses the plug-in without its marker comment"] if lines else []
