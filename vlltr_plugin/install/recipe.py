"""The description of the inserted lines, read from `patches/`."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vlltr_plugin import __version__
from vlltr_plugin.resources import patches_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MARKER = "# vlltr-plugin"


@dataclass(frozen=True)
class Insertion:
    """One line to insert.

    Args:
        name: short name for messages.
        line: the code, without indentation and marker.
        rule: how its place is found, a key of `anchors.RULES`.
        place: the place in words, for somebody who inserts the line by hand.
        subject: the host's variable or function that marks the place.
        holds_names: whether the names the line uses must keep their values until the epoch loop ends.
        pragma: a second comment that keeps formatters from moving or splitting the line.
    """

    name: str
    line: str
    rule: str
    place: str
    subject: str = ""
    holds_names: bool = False
    pragma: str = ""

    @property
    def is_entry(self) -> bool:
        """Whether the line is an entry of a dict literal instead of a statement."""
        return self.rule == "dict_entry"

    @cached_property
    def node(self) -> ast.AST:
        """The line's own syntax: a statement, or the expression that a dict entry unpacks."""
        if self.is_entry:
            literal = ast.parse("{" + self.line + "}", mode="eval").body
            assert isinstance(literal, ast.Dict)
            return literal.values[0]
        return ast.parse(self.line).body[0]

    def names(self, reserved: frozenset[str]) -> frozenset[str]:
        """The host's variables that the line reads.

        Args:
            reserved: the plug-in's own names, left out.

        Returns:
            Their names.
        """
        used = (node for node in ast.walk(self.node) if isinstance(node, ast.Name))
        return frozenset(node.id for node in used if isinstance(node.ctx, ast.Load)) - reserved

    def marked(self, version: str = __version__) -> str:
        """The line as it is written into the file, without indentation and line ending."""
        return "  ".join(part for part in (self.line, f"{MARKER} {version}", self.pragma) if part)


@dataclass(frozen=True)
class Recipe:
    """All insertions for one file of the host, in file order.

    Args:
        file: path of the file inside the checkout.
        function: the function that trains.
        loop: the variable of its epoch loop.
        reserved: names that must be free in the file.
        insertions: the lines.
    """

    file: str
    function: str
    loop: str
    reserved: frozenset[str]
    insertions: tuple[Insertion, ...]

    def by_hand(self) -> str:
        """The lines and their places in words, for somebody who inserts them by hand."""
        rows = [f"  {item.name}: {item.place}\n      {item.marked()}" for item in self.insertions]
        return "\n".join(rows)


def load_recipe(path: Path | None = None) -> Recipe:
    """Read the description of the inserted lines.

    Args:
        path: a TOML file; default: the one that ships with the plug-in.

    Returns:
        The recipe.
    """
    raw = tomllib.loads((path or patches_dir() / "main.toml").read_text(encoding="utf-8"))
    return Recipe(
        file=raw["file"],
        function=raw["function"],
        loop=raw["loop"],
        reserved=frozenset(raw["reserved"]),
        insertions=tuple(Insertion(**item) for item in raw["insertion"]),
    )
