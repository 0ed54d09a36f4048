"""A place for a line, and the file that is searched for it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from vlltr_plugin.install.bindings import Function, Spot
from vlltr_plugin.install.recipe import Insertion
from vlltr_plugin.install.source import Source


@dataclass(frozen=True)
class Anchor:
    """A place for one line.

    Attributes:
        insertion: what goes there.
        line: index of the physical line before which it goes.
        neighbour: index of the physical line whose indentation it copies.
        spot: its position among the statements (for a dict entry: the statement around the dict).
        literal: the dict that gets the entry, for an entry.
        entry: the entry's position in it.
        also: index of another line before which it may stay, though this version would move it.
    """

    insertion: Insertion
    line: int
    neighbour: int
    spot: Spot
    literal: ast.Dict | None = None
    entry: int = 0
    also: int | None = None

    def graft(self) -> None:
        """Inserts the line into the syntax tree itself."""
        node = self.insertion.node
        if self.literal is not None:
            assert isinstance(node, ast.expr)
            self.literal.keys.insert(self.entry, None)
            self.literal.values.insert(self.entry, node)
        else:
            assert isinstance(node, ast.stmt)
            self.spot.body.insert(self.spot.index, node)


class Refusal(Exception):  # noqa: N818
    """Why an insertion has no place."""


@dataclass(frozen=True)
class Script:
    """What the rules search.

    Attributes:
        source: the file without any line of the plug-in.
        tree: its syntax tree.
        top: the function that trains, or the class that holds it, at the file's top level; None without one.
        function: the function that trains.
        loop: its epoch loop.
        standing: where marked lines stand now, as indices of the physical lines below them, by their code.
        is_own: whether a top-level module belongs to the checkout.
    """

    source: Source
    tree: ast.Module
    top: ast.stmt | None
    function: Function | None
    loop: Spot | None
    standing: dict[str, int]
    is_own: Callable[[str], bool]

    @property
    def trains(self) -> Function:
        """The function that trains."""
        assert self.function is not None
        return self.function

    @property
    def epochs(self) -> Spot:
        """The epoch loop."""
        assert self.loop is not None
        return self.loop

    @property
    def loop_statement(self) -> ast.For:
        """The epoch loop."""
        statement = self.epochs.statement
        assert isinstance(statement, ast.For)
        return statement

    def before(self, item: Insertion, spot: Spot) -> Anchor:
        """Place on a line of its own before the statement at a spot."""
        line = first_line(spot.statement)
        if len(self.source.indentation(line)) != spot.statement.col_offset:
            raise Refusal(f"the statement in line {line + 1} shares its line with other code: give it its own line")
        return Anchor(item, line, line, spot)

    def after(self, item: Insertion, spot: Spot) -> Anchor:
        """Place on a line of its own after the statement at a spot."""
        neighbour = self.before(item, spot).line
        end = spot.statement.end_lineno or 0
        following = spot.body[spot.index + 1 : spot.index + 2]
        if following and first_line(following[0]) < end:
            raise Refusal(f"two statements share line {end}: give each its own line")
        return Anchor(item, end, neighbour, Spot(spot.body, spot.index + 1, spot.owner))


def first_line(statement: ast.stmt) -> int:
    """Index of the physical line on which a statement starts; decorators belong to it."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1
