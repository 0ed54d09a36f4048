"""Finds and checks the places of all lines: each exactly once, in order, with the variables its line uses."""

from __future__ import annotations

import ast

from vlltr_plugin.install.anchors import RULES, Anchor, Host, Refusal
from vlltr_plugin.install.bindings import Function, Spot, bound_before, stores
from vlltr_plugin.install.errors import AnchorError
from vlltr_plugin.install.recipe import Insertion, Recipe
from vlltr_plugin.install.source import Source


def locate(source: Source, tree: ast.Module, recipe: Recipe) -> list[Anchor]:
    """Find and check the places of all insertions.

    Args:
        source: the file, without any line of the plug-in.
        tree: its syntax tree.
        recipe: what to insert.

    Returns:
        One anchor for each insertion, in file order.

    Raises:
        AnchorError: if any is missing, ambiguous, out of order, or lacks a variable that its line uses.
    """
    try:
        function = _function(tree, recipe.function)
        host = Host(source, tree, function, _epoch_loop(function, recipe.loop))
    except Refusal as refusal:
        raise refuse(recipe, [str(refusal)]) from None
    anchors: list[Anchor] = []
    problems: list[str] = []
    for item in recipe.insertions:
        try:
            anchors.append(_checked(host, _only(item, host), recipe, anchors[-1:]))
        except Refusal as refusal:
            problems.append(f"anchor `{item.name}`: {refusal}")
    if problems:
        raise refuse(recipe, problems)
    return anchors


def refuse(recipe: Recipe, problems: list[str]) -> AnchorError:
    """Build the one error for everything that does not fit.

    Args:
        recipe: what was to be inserted.
        problems: what was expected and what came, one text each.

    Returns:
        The error, with the lines to insert by hand.
    """
    return AnchorError(
        f"{recipe.file}: {'; '.join(problems)}; nothing was written\n"
        "Change the file so that the places can be found, or insert the lines by hand (with their comments, "
        f"so that status and uninstall find them) and run install again:\n{recipe.by_hand()}"
    )


def _function(tree: ast.Module, name: str) -> Function:
    """The training function, on the file's top level."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(found) != 1:
        raise Refusal(f"expected one function `{name}` at the top level, as VL-LTR has it, but found {len(found)}")
    return found[0]


def _epoch_loop(function: Function, variable: str) -> Spot:
    """The epoch loop, on the training function's own level."""
    found = [
        spot
        for spot in (Spot(function.body, index) for index in range(len(function.body)))
        if isinstance(spot.statement, ast.For)
        and isinstance(spot.statement.target, ast.Name)
        and spot.statement.target.id == variable
    ]
    if len(found) != 1:
        raise Refusal(
            f"expected one loop `for {variable} in ...` at the own level of `{function.name}`, but found {len(found)}"
        )
    return found[0]


def _only(item: Insertion, host: Host) -> Anchor:
    """The one place that an insertion's rule finds."""
    found = list(RULES[item.rule](host, item))
    if not found:
        raise Refusal(f"found no place for it; expected {item.place}")
    if len(found) > 1:
        lines = ", ".join(str(anchor.line + 1) for anchor in found)
        raise Refusal(f"found {len(found)} places (before lines {lines}), expected one: {item.place}")
    return found[0]


def _checked(host: Host, anchor: Anchor, recipe: Recipe, previous: list[Anchor]) -> Anchor:
    """Check order and variables of a place."""
    item = anchor.insertion
    if previous and previous[0].line >= anchor.line:
        raise Refusal(
            f"its place (line {anchor.line + 1}) comes before that of `{previous[0].insertion.name}` "
            f"(line {previous[0].line + 1}); expected it {item.place}"
        )
    if item.rule == "first_statement":
        return anchor
    needed = item.names(recipe.reserved)
    missing = sorted(needed - bound_before(host.function, anchor.spot))
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise Refusal(f"its line uses {names}, not surely set in `{host.function.name}` before line {anchor.line + 1}")
    if item.holds_names:
        end = host.loop_statement.end_lineno or 0
        for name, line in stores(*host.function.body):
            if name in needed and anchor.line < line <= end:
                raise Refusal(f"its line uses `{name}`, which line {line} sets again before the epoch loop ends")
    return anchor
