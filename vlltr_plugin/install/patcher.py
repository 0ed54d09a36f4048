"""A file's bytes with the plug-in's lines in, or out again; nothing here touches the disk."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vlltr_plugin.errors import AnchorError, InstallError
from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.recipe import Insertion, Patch
from vlltr_plugin.install.rules import RULES
from vlltr_plugin.install.script import Anchor, Refusal, Script, epoch_loop
from vlltr_plugin.install.source import Source, parse
from vlltr_plugin.install.syntax import Function, bound_before, dotted, mentions, stores


class Patched(NamedTuple):
    """A file with the lines in.

    Attributes:
        data: its bytes.
        anchors: where the lines went, in file order, by the lines of the file without them.
    """

    data: bytes
    anchors: list[Anchor]


def _nobody(name: str) -> bool:
    """No module is the checkout's own."""
    return False


def patched(data: bytes, patch: Patch, is_own: Callable[[str], bool] = _nobody) -> bytes:
    """The file with the lines; see `plan`."""
    return plan(data, patch, is_own).data


def plan(data: bytes, patch: Patch, is_own: Callable[[str], bool] = _nobody) -> Patched:
    """Inserts the lines, in place of any that an earlier installation left.

    Raises:
        AnchorError: if a line has no suitable place.
    """
    given = Source.of(data)
    standing = {line.code: line.at for line in given.marked()}
    source = given.without_marked()
    try:
        tree = parse(source.data)
    except SyntaxError as error:
        raise refuse(patch, [f"expected Python, but line {error.lineno} does not parse ({error.msg})"]) from error
    taken = mentions(tree, patch.reserved)
    if taken:
        names = " and ".join(f"`{name}`" for name in sorted(patch.reserved))
        unused = f"expected the names {names} to be unused, but line {taken[0]} uses one"
        raise refuse(patch, [unused, *filter(None, [by_hand(data, patch).amiss])])
    try:
        anchors = locate(source, tree, patch, standing, is_own)
    except AnchorError as error:
        if amiss := by_hand(data, patch).amiss:
            raise AnchorError(f"{error.reason}; {amiss}", error.advice) from None
        raise
    result = _inserted(source, anchors)
    for anchor in reversed(anchors):  # from the end, so that the earlier positions stay valid
        anchor.graft()
    try:
        same = ast.dump(parse(result.data)) == ast.dump(tree)
    except SyntaxError:
        same = False
    if not same or result.without_marked().data != source.data:
        raise refuse(patch, ["the lines would change the meaning of the lines around them"])
    return Patched(result.data, anchors)


def _inserted(source: Source, anchors: list[Anchor]) -> Source:
    """The file with one physical line more for each anchor."""
    lines = list(source.lines)
    for anchor in reversed(anchors):
        text = anchor.insertion.marked().encode("ascii")
        ending = source.ending(max(anchor.line - 1, 0))  # of the line above: it has one, the last line may not
        lines.insert(anchor.line, source.indentation(anchor.neighbour) + text + ending)
    return Source(source.bom, tuple(lines))


def unpatched(data: bytes, patch: Patch) -> bytes:
    """Takes the marked lines out.

    Raises:
        InstallError: if the file would no longer work: other lines still use the plug-in, or need a marked one.
    """
    source = Source.of(data)
    rest = source.without_marked()
    try:
        parse(data)
    except SyntaxError:
        return rest.data  # broken before: nothing more to break
    try:
        tree = parse(rest.data)
    except SyntaxError as error:
        raise InstallError(
            f"{patch.file}: without the marked lines it would not parse (line {error.lineno}: {error.msg}); nothing "
            "was written. Mend the code around the lines marked `# vlltr-plugin`, then uninstall again"
        ) from error
    left = mentions(tree, patch.reserved)
    if left and rest.data != data:
        raise InstallError(
            f"{patch.file}: unmarked code still uses the plug-in (line {left[0]} once the marked lines are out; was "
            "the file reformatted after the installation?); nothing was written. Remove that code by hand, then "
            "uninstall again"
        )
    return rest.data


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
