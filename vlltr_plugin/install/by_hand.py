"""Finds lines of the plug-in that were inserted by hand: with or without markers, with other variable names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from vlltr_plugin.install.recipe import Patch
from vlltr_plugin.install.script import LOOPS, goes_over_batches
from vlltr_plugin.install.syntax import Spot, dotted, imports, in_full, parse, spots

_HOOK = "reweight_hook"


@dataclass(frozen=True)
class ByHand:
    """The lines of a file that use the plug-in, under any local name."""

    lines: tuple[int, ...]  # from 1
    problems: tuple[str, ...]  # what is missing or misplaced; empty if the lines are complete

    def __str__(self) -> str:
        return f"lines {', '.join(map(str, self.lines))}"


def by_hand(data: bytes, patch: Patch) -> ByHand:
    """Finds the lines of a patch in a file, however they are written."""
    try:
        tree = parse(data)
    except SyntaxError:
        return ByHand((), ("it does not parse",))
    used = _used(tree)
    missing = []
    for item in patch.insertions:
        if isinstance(item.node, ast.Import):
            module = item.node.names[0].name
            found = any(f"{name}.".startswith(f"{module}.") for name in used)
        else:
            found = any(isinstance(part, ast.Attribute) and dotted(part) in used for part in ast.walk(item.node))
        missing += [] if found else [f"`{item.name}`"]
    problems = [f"of the plug-in's lines there, {', '.join(missing)} is missing"] if missing else []
    lines = sorted({line for lines in used.values() for line in lines})
    return ByHand(tuple(lines), (*problems, *_misplaced(tree, used)))


def _used(tree: ast.Module) -> dict[str, list[int]]:
    """The plug-in's names that a file uses, with their lines; fully qualified, and the hook under its usual name."""
    ours = [found for found in imports(tree) if found.path.split(".")[0] == "vlltr_plugin"]
    meanings = {_HOOK: _HOOK} | {found.name: found.means for found in ours}
    used: dict[str, list[int]] = {}
    for found in ours:
        used.setdefault(found.path, []).append(found.line)
    for node in ast.walk(tree):
        called = node.value.func if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) else None
        if isinstance(node, ast.Assign) and called and in_full(dotted(called), meanings).endswith(".attach"):
            meanings |= {dotted(target): _HOOK for target in node.targets}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (full := in_full(dotted(node), meanings)):
            used.setdefault(full, []).append(node.lineno)
    return used


def _misplaced(tree: ast.Module, used: dict[str, list[int]]) -> Iterator[str]:
    """Misplaced calls: `attach` belongs before the loop over epochs, `end_epoch` inside it, once per epoch.

    Only calls in the same function are compared, since it is not known how often another function runs.
    """
    attaches = {line for name, lines in used.items() if name.endswith(".attach") for line in lines}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        inside = [(spot, _own_lines(spot.statement)) for spot in spots(function.body)]
        attach = next((spot for spot, lines in inside if lines & attaches), None)
        if attach is None:
            continue
        for method in ("begin_epoch", "end_epoch"):
            for spot in (spot for spot, lines in inside if lines & {*used.get(f"{_HOOK}.{method}", [])}):
                if reason := _reason(attach, spot):
                    yield f"line {spot.statement.lineno}, `{method}`, {reason}"


def _own_lines(statement: ast.stmt) -> set[int]:
    """The lines of a statement without the blocks in it."""
    first = [part.lineno for part in getattr(statement, "body", []) if isinstance(part, ast.stmt)]
    return set(range(statement.lineno, first[0] if first else (statement.end_lineno or statement.lineno) + 1))


def _reason(attach: Spot, call: Spot) -> str:
    """The reason why a call once per epoch is misplaced; empty if it is not."""
    loops = [owner for owner in call.owners() if isinstance(owner, LOOPS)]
    around = [loop for loop in loops if loop in list(attach.owners())]
    if around:
        return f"stands in the loop of line {around[0].lineno} with `attach`, which comes before the loop over epochs"
    if not loops:
        return "stands outside the loop over epochs: move it inside"
    if attach.statement.lineno > loops[-1].lineno:
        return f"stands in the loop of line {loops[-1].lineno}, before `attach` in line {attach.statement.lineno}"
    if isinstance(loops[0], ast.For) and goes_over_batches(loops[0]):
        return f"stands in the loop over the batches of line {loops[0].lineno}: move it out of that"
    return ""
