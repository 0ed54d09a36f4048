"""The description of the inserted lines, read from `patches/`."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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

    Attributes:
        name: short name for messages.
        line: the code, without indentation and marker.
        rule: how its place is found, a key of `anchors.RULES`.
        place: the place in words, for somebody who inserts the line by hand.
        subject: the host's variable or function that marks the place.
        holds_names: whether the names the line uses must keep their values until the epoch loop ends.
        holds: attributes, `self.criterion`, that must keep their values until then as well.
        calls: attributes among them that the epoch loop has to call, else the line would do nothing, and whose own
            attributes it must leave alone.
        modules: packages that must not be imported before the line; with it the checkout's own modules.
        pragma: a second comment that keeps formatters from moving or splitting the line.
    """

    name: str
    line: str
    rule: str
    place: str
    subject: str = ""
    holds_names: bool = False
    holds: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    pragma: str = ""

    @property
    def at_module_level(self) -> bool:
        """Whether the line stands outside all functions."""
        return self.rule in ("before_imports", "after_module_assignment", "before_function")

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
class Patch:
    """All insertions for one file of a host, in file order.

    Attributes:
        file: path of the file inside the checkout.
        insertions: the lines.
        reserved: names that must be free in the file.
        host: the host's name for messages.
        function: the function that trains, or a method: `Trainer.train`; empty where no line goes into one.
        loop: the variable of its epoch loop.
        made_in: the host's script that makes the class of the method; empty where a function trains.
    """

    file: str
    insertions: tuple[Insertion, ...]
    reserved: frozenset[str]
    host: str
    function: str = ""
    loop: str = ""
    made_in: str = ""

    def by_hand(self) -> str:
        """The lines and their places in words, for somebody who inserts them by hand."""
        rows = [f"  {item.name}: {item.place}\n      {item.marked()}" for item in self.insertions]
        return "\n".join(rows)


@dataclass(frozen=True)
class Recipe:
    """What goes into a checkout of one host.

    Attributes:
        name: the host, as `--host` takes it.
        host: its name for messages.
        patches: the lines, file by file. A checkout with those of the first files only must run as ever; one with
            those of the last files only may not exist at any moment.
        next_command: what to type after the installation; `{checkout}` stands for the checkout.
        copies: whether the supplied configs are copied into the checkout.
    """

    name: str
    host: str
    patches: tuple[Patch, ...]
    next_command: str
    copies: bool

    @property
    def files(self) -> tuple[str, ...]:
        """The files that get lines."""
        return tuple(patch.file for patch in self.patches)


def load_recipe(path: Path) -> Recipe:
    """Reads the description of the inserted lines.

    Args:
        path: a TOML file.

    Returns:
        The recipe.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    common = {"reserved": frozenset(raw["reserved"]), "host": raw["host"]}
    patches = [
        Patch(**{**patch, "insertions": tuple(_insertion(item) for item in patch["insertions"])}, **common)
        for patch in raw["patches"]
    ]
    return Recipe(raw["name"], raw["host"], tuple(patches), raw["next_command"], raw.get("copies", False))


def _insertion(raw: dict[str, Any]) -> Insertion:
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return Insertion(**plain)


def load_recipes() -> dict[str, Recipe]:
    """Reads the recipes that ship with the plug-in, by the name of the host."""
    recipes = [load_recipe(path) for path in sorted(patches_dir().glob("*.toml"))]
    return {recipe.name: recipe for recipe in recipes}
