"""The epoch loop of the function that trains, or the reason why it has none that the lines fit."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from vlltr_plugin.install.anchors import Refusal
from vlltr_plugin.install.bindings import Function, Spot, dotted, spots
from vlltr_plugin.install.recipe import Patch

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
