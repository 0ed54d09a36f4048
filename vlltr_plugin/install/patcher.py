"""A file's bytes with the plug-in's lines in, or out again; nothing here touches the disk."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from vlltr_plugin.errors import InstallError
from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.recipe import Insertion, Patch
from vlltr_plugin.install.rules import RULES
from vlltr_plugin.install.script import Anchor, Refusal, Script, Training, find_training
from vlltr_plugin.install.source import Source, parse
from vlltr_plugin.install.syntax import bound_before, dotted, mentions, stores


class Patched(NamedTuple):
    """A file with the lines in."""

    data: bytes
    anchors: list[Anchor]  # where the lines went, in file order, by the lines of the file without them


def with_lines(data: bytes, patch: Patch, root: Path | None = None) -> Patched:
    """Inserts the lines, in place of any that an earlier installation left; `root` is the checkout.

    Raises:
        Refusal: if a line has no suitable place.
    """
    given = Source.of(data)
    source = given.without_marked()
    try:
        tree = parse(source.data)
    except SyntaxError as error:
        raise _refusal(data, patch, f"expected Python, but line {error.lineno} does not parse ({error.msg})") from error
    taken = mentions(tree, patch.reserved)
    if taken:
        names = " and ".join(f"`{name}`" for name in sorted(patch.reserved))
        raise _refusal(data, patch, f"expected the names {names} to be unused, but line {taken[0]} uses one")
    try:
        trains = find_training(tree, patch) if patch.function else None
        standing = {line.code: line.at for line in given.marked()}
        anchors = _anchors(Script(source, tree, trains, standing, root), patch)
    except Refusal as refusal:
        raise _refusal(data, patch, str(refusal)) from None
    result = _inserted(source, anchors)
    for anchor in reversed(anchors):  # from the end, so that the earlier positions stay valid
        anchor.graft()
    try:
        same = ast.dump(parse(result.data)) == ast.dump(tree)
    except SyntaxError:
        same = False
    if not same or result.without_marked().data != source.data:
        raise _refusal(data, patch, "the lines would change the meaning of the lines around them")
    return Patched(result.data, anchors)


def without_lines(data: bytes, patch: Patch) -> bytes:
    """Takes the marked lines out.

    Raises:
        InstallError: if the file would no longer work: other lines still use the plug-in, or need a marked one.
    """
    rest = Source.of(data).without_marked().data
    try:
        parse(data)
    except SyntaxError:
        return rest  # broken before: nothing more to break
    try:
        tree = parse(rest)
    except SyntaxError as error:
        raise InstallError(
            f"{patch.file}: without the marked lines it would not parse (line {error.lineno}: {error.msg}); nothing "
            "was written. Mend the code around the lines marked `# vlltr-plugin`, then uninstall again"
        ) from error
    left = mentions(tree, patch.reserved)
    if left and rest != data:
        raise InstallError(
            f"{patch.file}: unmarked code still uses the plug-in (line {left[0]} once the marked lines are out; was "
            "the file reformatted after the installation?); nothing was written. Remove that code by hand, then "
            "uninstall again"
        )
    return rest


def _refusal(data: bytes, patch: Patch, reason: str) -> Refusal:
    """With the file's name, and what is wrong with lines of the plug-in that somebody inserted by hand."""
    return Refusal("; ".join(filter(None, [f"{patch.file}: {reason}", by_hand(data, patch).problems])))


def _inserted(source: Source, anchors: list[Anchor]) -> Source:
    """The file with one physical line more for each anchor."""
    lines = list(source.lines)
    for anchor in reversed(anchors):
        text = anchor.insertion.marked().encode("ascii")
        ending = source.ending(max(anchor.line - 1, 0))  # of the line above: it has one, the last line may not
        lines.insert(anchor.line, source.indentation(anchor.neighbour) + text + ending)
    return Source(source.bom, tuple(lines))


def _anchors(script: Script, patch: Patch) -> list[Anchor]:
    """The places of all insertions: each exactly once, in order, with the variables that its line uses."""
    anchors: list[Anchor] = []
    problems: list[str] = []
    for item in patch.insertions:
        try:
            anchor = _only(item, script)
            if anchors and anchors[-1].line >= anchor.line:
                raise Refusal(
                    f"its place (line {anchor.line + 1}) comes before that of `{anchors[-1].insertion.name}` "
                    f"(line {anchors[-1].line + 1}); expected it {item.place}"
                )
            if not item.at_module_level:
                _check_names(script.training, anchor, patch)
                _check_attributes(script.training.loop, item)
            anchors.append(anchor)
        except Refusal as refusal:
            problems.append(f"anchor `{item.name}`: {refusal}")
    if problems:
        raise Refusal("; ".join(problems))
    return anchors


def _only(item: Insertion, script: Script) -> Anchor:
    """The one place that an insertion's rule finds."""
    found = list(RULES[item.rule](script, item))
    if not found:
        raise Refusal(f"found no place for it; expected {item.place}")
    if len(found) > 1:
        lines = ", ".join(str(anchor.line + 1) for anchor in found)
        raise Refusal(f"found {len(found)} places (before lines {lines}), expected one: {item.place}")
    return found[0]


def _check_names(trains: Training, anchor: Anchor, patch: Patch) -> None:
    """The variables that the line reads must be set before it, and keep their values where the recipe says so."""
    item = anchor.insertion
    used = (node for node in ast.walk(item.node) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    needed = {node.id for node in used} - patch.reserved
    missing = sorted(needed - bound_before(trains.function, anchor.spot))
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise Refusal(
            f"its line uses {names}, which may not be set in `{patch.function}` before line {anchor.line + 1}"
        )
    if item.holds_names:
        for name, line in stores(*trains.function.body):
            since = trains.loop.lineno if name == patch.loop else anchor.line
            if name in needed and since < line <= (trains.loop.end_lineno or 0):
                raise Refusal(f"its line uses `{name}`, which line {line} sets again before the epoch loop ends")


def _check_attributes(loop: ast.For, item: Insertion) -> None:
    """The epoch loop must not replace what the line has put in place, and must call it."""
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
