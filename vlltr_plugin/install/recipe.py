"""Reads the description of the inserted lines from the files in `patches/`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vlltr_plugin import __version__
from vlltr_plugin.resources import patches_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MARKER = "# vlltr-plugin"


@dataclass(frozen=True)
class Insertion:
    """One line to insert."""

    name: str  # short, for messages
    line: str  # the code, without indentation and marker
    rule: str  # how its place is found, a function of rules.py
    place: str  # the place in words, for messages
    subject: str = ""  # the host's variable or function that marks the place
    holds_names: bool = False  # True if the names that the line uses must keep their values until the epoch loop ends
    holds: Sequence[str] = ()  # attributes, such as `self.criterion`, that must also keep their values until then
    calls: Sequence[str] = ()  # attributes that the epoch loop must call, and must not set attributes of
    modules: Sequence[str] = ()  # packages that, like the checkout's own modules, must not be imported before the line
    pragma: str = ""  # a second comment that keeps formatters from moving or splitting the line

    @cached_property
    def node(self) -> ast.stmt | ast.expr:
        """The line's own syntax: a statement, or the expression that an entry of a dict literal unpacks."""
        if self.rule != "dict_entry":
            return ast.parse(self.line).body[0]
        literal = ast.parse("{" + self.line + "}", mode="eval").body
        assert isinstance(literal, ast.Dict)
        return literal.values[0]

    def marked(self) -> str:
        """The line as it is written into the file, without indentation and line ending."""
        return "  ".join(part for part in (self.line, f"{MARKER} {__version__}", self.pragma) if part)


@dataclass(frozen=True)
class Patch:
    """All insertions for one file of a host, in file order."""

    file: str  # inside the checkout
    insertions: tuple[Insertion, ...]
    reserved: frozenset[str]  # names that the host must not use in the file
    host: str  # the host's name for messages
    function: str = ""  # the function that trains, or a method: `Trainer.train`; empty if no line goes into one
    loop: str = ""  # the variable of its epoch loop
    made_in: str = ""  # the script that makes an instance of the method's class; empty where a function trains

    def by_hand(self) -> str:
        """The lines and descriptions of their places, for inserting them by hand."""
        return "\n".join(f"  {item.name}: {item.place}\n      {item.marked()}" for item in self.insertions)


@dataclass(frozen=True)
class Recipe:
    """The lines and configs for a checkout of one host.

    Patches are inserted in order and removed in reverse order. A checkout with the lines of the first files only must
    run as without any; a checkout with the lines of the last files only must never occur.
    """

    name: str  # the host's name for `--host`
    host: str  # the host's name in messages
    patches: tuple[Patch, ...]
    next_command: str  # command to suggest after the installation; `{checkout}` is replaced by the checkout
    copies: bool = False  # True if the supplied configs are copied into the checkout

    @property
    def files(self) -> tuple[str, ...]:
        """The files that get lines."""
        return tuple(patch.file for patch in self.patches)


def load_recipes() -> dict[str, Recipe]:
    """Reads the recipes that ship with the plug-in, by the name of the host."""
    recipes = {}
    for path in sorted(patches_dir().glob("*.toml")):
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        common = {"host": raw["host"], "reserved": frozenset(raw.pop("reserved"))}
        patches = []
        for patch in raw.pop("patches"):
            insertions = tuple(Insertion(**item) for item in patch.pop("insertions"))
            patches.append(Patch(insertions=insertions, **patch, **common))
        recipes[raw["name"]] = Recipe(patches=tuple(patches), **raw)
    return recipes
