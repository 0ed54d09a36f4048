"""A host's file for the rules to search, a place for a line in it, and its epoch loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.install.recipe import Insertion, Patch
from vlltr_plugin.install.syntax import Source, Spot, dotted, first_line, spots

LOOPS = (ast.For, ast.AsyncFor, ast.While)
NO_EPOCHS = "a loop by steps has no end of an epoch, where weights could change"


class Refusal(Exception):  # noqa: N818
    """Raised if an insertion has no place; the message says why."""


@dataclass(frozen=True)
class Anchor:
    """A place for one line."""

    insertion: Insertion
    line: int  # index of the physical line before which it goes
    neighbour: int  # index of the physical line whose indentation it copies
    spot: Spot  # its position among the statements (for a dict entry: the statement around the dict)
    literal: ast.Dict | None = None  # the dict that gets the entry, for an entry
    entry: int = 0  # the entry's position in it
    also: int | None = None  # index of another line before which it may be, although this version would move it

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


@dataclass(frozen=True)
class Training:
    """The function that trains, and its epoch loop."""

    function: ast.FunctionDef
    epochs: Spot  # the epoch loop
    loop: ast.For  # its statement


@dataclass(frozen=True)
class Script:
    """The file that the rules search."""

    source: Source  # the file without any line of the plug-in
    tree: ast.Module
    trains: Training | None
    standing: dict[str, int]  # where marked lines stand now: indices of the lines below them, by their code
    root: Path | None  # the checkout; without one no module is its own

    @property
    def training(self) -> Training:
        """The function that trains, of a file that has one by its recipe."""
        assert self.trains is not None
        return self.trains

    def is_own(self, module: str) -> bool:
        """True if a top-level module belongs to the checkout."""
        root = self.root
        return root is not None and ((root / f"{module}.py").is_file() or any((root / module).glob("*.py")))

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


def find_training(tree: ast.Module, patch: Patch) -> Training:
    """The function that trains and its epoch loop, on its own level or in a `try` there; or a Refusal."""
    function = find_function(tree, patch)
    found = [spot for spot in _run_once(function.body) if _runs_over(spot.statement, patch.loop)]
    if len(found) != 1:
        raise Refusal(
            f"expected one loop `for {patch.loop} in ...` at the own level of `{patch.function}`, as {patch.host} has "
            f"it, but found {len(found)}{_why_no_loop(tree, function, patch, found)}"
        )
    loop = found[0].statement
    assert isinstance(loop, ast.For)
    return Training(function, found[0], loop)


def find_function(tree: ast.Module, patch: Patch) -> ast.FunctionDef:
    """The function or method that trains; or a Refusal."""
    *outer, name = patch.function.split(".")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in outer]
    nodes = [node for holder in classes for node in holder.body] if outer else tree.body
    found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(found) != 1:
        kind, where = ("method", "") if outer else ("function", " at the top level")
        lines = f" (lines {', '.join(str(function.lineno) for function in found)})" if found else ""
        raise Refusal(
            f"expected one {kind} `{patch.function}`{where}, as {patch.host} has it, but found {len(found)}{lines}"
        )
    return found[0]


def _run_once(body: list[ast.stmt], owner: Spot | None = None) -> Iterator[Spot]:
    """The statements that run once whenever the function runs: its own, and those in the body of a `try`."""
    for index, statement in enumerate(body):
        spot = Spot(body, index, owner)
        yield spot
        if isinstance(statement, ast.Try):
            yield from _run_once(statement.body, spot)


def _why_no_loop(tree: ast.Module, function: ast.FunctionDef, patch: Patch, found: list[Spot]) -> str:
    """Describes the loops that are there instead, with their lines."""
    if found:
        return f" (lines {', '.join(str(spot.statement.lineno) for spot in found)}): the lines fit one loop only"
    loops = [spot for spot in spots(function.body) if isinstance(spot.statement, LOOPS)]
    for spot in loops:
        if _runs_over(spot.statement, patch.loop):
            around = next(spot.owners())
            return f": that in line {spot.statement.lineno} stands inside the statement of line {around.lineno}"
    top = [spot.statement for spot in loops if not any(isinstance(owner, LOOPS) for owner in spot.owners())]
    for loop in top:
        if isinstance(loop, ast.For) and "epoch" in dotted(loop.target):
            return f": its epoch loop in line {loop.lineno} has another variable, `{dotted(loop.target)}`"
    for loop in top:
        if isinstance(loop, ast.For) and goes_over_batches(loop):
            inside = set(ast.walk(function))
            others = [node for node in ast.walk(tree) if isinstance(node, ast.For) and node not in inside]
            outer = next((node for node in others if "epoch" in dotted(node.target)), None)
            where = f"; line {outer.lineno} has a loop over epochs, in another function" if outer else ""
            return f": `{patch.function}` is one epoch, its loop in line {loop.lineno} goes over the batches{where}"
    if not top:
        return f": `{patch.function}` in line {function.lineno} has no loop"
    kind = "`while` loop" if isinstance(top[0], ast.While) else "loop"
    return f": it has a {kind} in line {top[0].lineno}, and {NO_EPOCHS}"


def _runs_over(statement: ast.stmt, name: str) -> bool:
    return isinstance(statement, ast.For) and dotted(statement.target) == name


def goes_over_batches(loop: ast.For) -> bool:
    """True if a loop iterates over a loader (`self.train_loader`, also inside `enumerate` or `tqdm`)."""
    parts = [*ast.walk(loop.iter), *ast.walk(loop.target)]
    names = [dotted(part).rpartition(".")[2].lower() for part in parts if isinstance(part, ast.Name | ast.Attribute)]
    return any("loader" in name or "batch" in name for name in names)
