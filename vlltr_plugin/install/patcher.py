"""A file's bytes with the plug-in's lines in, or out again; nothing here touches the disk."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import NamedTuple

from vlltr_plugin.install.anchors import Anchor
from vlltr_plugin.install.bindings import mentions
from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.errors import AnchorError, InstallError
from vlltr_plugin.install.locate import locate, refuse
from vlltr_plugin.install.recipe import Patch
from vlltr_plugin.install.source import Source, parse


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
