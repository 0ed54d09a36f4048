"""Finds and checks the places of all lines: each exactly once, in order, with the variables its line uses."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from vlltr_plugin.install.anchors import Anchor, Refusal, Script
from vlltr_plugin.install.bindings import Function, bound_before, dotted, stores
from vlltr_plugin.install.errors import AnchorError
from vlltr_plugin.install.loops import epoch_loop
from vlltr_plugin.install.recipe import Insertion, Patch
from vlltr_plugin.install.rules import RULES
from vlltr_plugin.install.source import Source, parse


def locate(
    source: Source, tree: ast.Module, patch: Patch, standing: dict[str, int], is_own: Callable[[str], bool]
) -> list[Anchor]:
    """Finds and checks the places of all insertions.

    Raises:
        AnchorError: if any is missing, ambiguous, out of order, or lacks a variable that its line uses.
    """
    try:
        top, function = _function(tree, patch) if patch.function else (None, None)
        loop = epoch_loop(tree, function, patch) if function else None
    except Refusal as refusal:
        raise refuse(patch, [str(refusal)]) from None
    script = Script(source, tree, top, function, loop, standing, is_own)
    anchors: list[Anchor] = []
    problems: list[str] = []
    for item in patch.insertions:
        try:
            anchors.append(_checked(script, _only(item, script), patch, anchors[-1:]))
        except Refusal as refusal:
            problems.append(f"anchor `{item.name}`: {refusal}")
    if problems:
        raise refuse(patch, problems)
    return anchors


def refuse(patch: Patch, problems: list[str]) -> AnchorError:
    """Builds the one error for everything that does not fit."""
    return AnchorError(f"{patch.file}: {'; '.join(problems)}", advice([patch]))


def advice(patches: Iterable[Patch]) -> str:
    """What to do where a place is missing: the lines of all files, to insert by hand."""
    files = "\n".join(f"{patch.file}:\n{patch.by_hand()}" for patch in patches)
    return (
        "Change the file so that the places can be found, or insert the lines by hand and run install again. Use the "
        "names of your variables in them, and keep their comments, so that uninstall finds them. A file whose places "
        f"are found gets its lines from install:\n{files}"
    )


def _function(tree: ast.Module, patch: Patch) -> tuple[ast.stmt, Function]:
    """The training function, and the statement at the file's top level that is it or holds it."""
    *outer, name = patch.function.split(".")
    holders: list[ast.stmt] = [
        node for node in tree.body if not outer or (isinstance(node, ast.ClassDef) and node.name == outer[0])
    ]
    found = [
        (holder, node)
        for holder in holders
        for node in (holder.body if isinstance(holder, ast.ClassDef) and outer else [holder])
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    if len(found) != 1:
        kind, where = ("method", "") if outer else ("function", " at the top level")
        lines = f" (lines {', '.join(str(method.lineno) for _, method in found)})" if found else ""
        raise Refusal(
            f"expected one {kind} `{patch.function}`{where}, as {patch.host} has it, but found {len(found)}{lines}"
        )
    return found[0]


def has_function(data: bytes, patch: Patch) -> bool:
    """Whether a file has the function that trains."""
    try:
        return bool(_function(parse(data), patch))
    except (Refusal, SyntaxError):
        return False


def _only(item: Insertion, script: Script) -> Anchor:
    """The one place that an insertion's rule finds."""
    found = list(RULES[item.rule](script, item))
    if not found:
        raise Refusal(f"found no place for it; expected {item.place}")
    if len(found) > 1:
        lines = ", ".join(str(anchor.line + 1) for anchor in found)
        raise Refusal(f"found {len(found)} places (before lines {lines}), expected one: {item.place}")
    return found[0]


def _checked(script: Script, anchor: Anchor, patch: Patch, previous: list[Anchor]) -> Anchor:
    """Checks order and variables of a place."""
    item = anchor.insertion
    if previous and previous[0].line >= anchor.line:
        raise Refusal(
            f"its place (line {anchor.line + 1}) comes before that of `{previous[0].insertion.name}` "
            f"(line {previous[0].line + 1}); expected it {item.place}"
        )
    if item.at_module_level:
        return anchor
    needed = item.names(patch.reserved)
    missing = sorted(needed - bound_before(script.trains, anchor.spot))
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise Refusal(f"its line uses {names}, not surely set in `{patch.function}` before line {anchor.line + 1}")
    loop = script.loop_statement
    if item.holds_names:
        for name, line in stores(*script.trains.body):
            since = loop.lineno if name == patch.loop else anchor.line
            if name in needed and since < line <= (loop.end_lineno or 0):
                raise Refusal(f"its line uses `{name}`, which line {line} sets again before the epoch loop ends")
    _check_attributes(loop, item)
    return anchor


def _check_attributes(loop: ast.For, item: Insertion) -> None:
    """Refuses an epoch loop that replaces what the line has put in place, or never calls it."""
    nodes = list(ast.walk(loop))
    for node in nodes:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            name, owner = dotted(node), dotted(node.value)  # what is set on a stand-in never reaches the host's own
            if name in item.holds or owner in item.calls:
                raise Refusal(f"the epoch loop sets `{name}` again in line {node.lineno}")
    called = {dotted(node.func) for node in nodes if isinstance(node, ast.Call)}
    for name in item.calls:
        if name not in called:
            raise Refusal(f"the epoch loop does not call `{name}`: there is nothing that could be re-weighted")
