"""A place for a line, and the file that is searched for it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vlltr_plugin.install.recipe import Insertion, Patch
from vlltr_plugin.install.source import Source
from vlltr_plugin.install.syntax import Function, Spot, dotted, first_line, spots


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


LOOPS = (ast.For, ast.AsyncFor, ast.While)
NO_EPOCHS = "a loop by steps has no end of an epoch, where weights could change"


def epoch_loop(tree: ast.Module, function: Function, patch: Patch) -> Spot:
    """The epoch loop, on the training function's own level or in the body of a `try` there.

    Raises:
        Refusal: without exactly one, saying what loops there are, with their lines.
    """
    found = [spot for spot in _run_once(function.body) if _runs_over(spot.statement, patch.loop)]
    if len(found) == 1:
        return found[0]
    raise Refusal(
        f"expected one loop `for {patch.loop} in ...` at the own level of `{patch.function}`, as {patch.host} has it, "
        f"but found {len(found)}{_reason(tree, function, patch, found)}"
    )


def _run_once(body: list[ast.stmt], owner: Spot | None = None) -> Iterator[Spot]:
    """The statements that run once whenever the function runs: its own, and those in the body of a `try`."""
    for index, statement in enumerate(body):
        spot = Spot(body, index, owner)
        yield spot
        if isinstance(statement, ast.Try):
            yield from _run_once(statement.body, spot)


def _reason(tree: ast.Module, function: Function, patch: Patch, found: list[Spot]) -> str:
    if found:
        return f" (lines {', '.join(str(spot.statement.lineno) for spot in found)}): the lines fit one loop only"
    loops = [spot for spot in spots(function.body) if isinstance(spot.statement, LOOPS)]
    for spot in loops:
        if _runs_over(spot.statement, patch.loop):
            around = next(spot.owners())
            return f": that in line {spot.statement.lineno} stands inside the statement of line {around.lineno}"
    top = [spot.statement for spot in loops if not any(isinstance(owner, LOOPS) for owner in spot.owners())]
    for loop in top:
        if isinstance(loop, ast.For) and "epoch" in _target(loop):
            return f": its epoch loop in line {loop.lineno} has another variable, `{_target(loop)}`"
    for loop in top:
        if isinstance(loop, ast.For) and goes_over_batches(loop):
            outer = next(_epoch_loops_elsewhere(tree, function), None)
            where = f"; line {outer.lineno} has a loop over epochs, in another function" if outer else ""
            return f": `{patch.function}` is one epoch, its loop in line {loop.lineno} goes over the batches{where}"
    if not top:
        return f": `{patch.function}` in line {function.lineno} has no loop"
    kind = "`while` loop" if isinstance(top[0], ast.While) else "loop"
    return f": it has a {kind} in line {top[0].lineno}, and {NO_EPOCHS}"


def _runs_over(statement: ast.stmt, name: str) -> bool:
    return isinstance(statement, ast.For) and _target(statement) == name


def _target(loop: ast.For | ast.AsyncFor) -> str:
    return dotted(loop.target)


def goes_over_batches(loop: ast.For) -> bool:
    """Whether a loop goes through a loader (`self.train_loader`, also inside `enumerate` or `tqdm`)."""
    parts = [*ast.walk(loop.iter), *ast.walk(loop.target)]
    names = [dotted(part).rpartition(".")[2].lower() for part in parts if isinstance(part, ast.Name | ast.Attribute)]
    return any("loader" in name or "batch" in name for name in names)


def _epoch_loops_elsewhere(tree: ast.Module, function: Function) -> Iterator[ast.For]:
    inside = set(ast.walk(function))
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and node not in inside and "epoch" in _target(node):
            yield node
