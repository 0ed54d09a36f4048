"""A file's bytes with the plug-in's lines in, or out again; nothing here touches the disk."""

from __future__ import annotations

import ast

from vlltr_plugin.install.anchors import Anchor
from vlltr_plugin.install.bindings import mentions
from vlltr_plugin.install.errors import InstallError
from vlltr_plugin.install.locate import locate, refuse
from vlltr_plugin.install.recipe import Recipe
from vlltr_plugin.install.source import Source, parse


def patched(data: bytes, recipe: Recipe) -> bytes:
    """Insert the lines, in place of any that an earlier installation left.

    Args:
        data: the file.
        recipe: what to insert.

    Returns:
        The file with the lines. Without its marked lines it has the bytes of `data` without its marked lines, and
        its syntax tree is that of the latter with the new statements added.

    Raises:
        AnchorError: if a line has no suitable place.
    """
    source = Source.of(data).without_marked()
    try:
        tree = parse(source.data)
    except SyntaxError as error:
        raise refuse(recipe, [f"expected Python, but line {error.lineno} does not parse ({error.msg})"]) from error
    taken = mentions(tree, recipe.reserved)
    if taken:
        names = " and ".join(f"`{name}`" for name in sorted(recipe.reserved))
        raise refuse(recipe, [f"expected the names {names} to be unused, but line {taken[0]} uses one"])
    anchors = locate(source, tree, recipe)
    result = _inserted(source, anchors)
    for anchor in reversed(anchors):  # from the end, so that the earlier positions stay valid
        anchor.graft()
    try:
        same = ast.dump(parse(result.data)) == ast.dump(tree)
    except SyntaxError:
        same = False
    if not same or result.without_marked().data != source.data:
        raise refuse(recipe, ["the lines would change the meaning of the lines around them"])
    return result.data


def _inserted(source: Source, anchors: list[Anchor]) -> Source:
    """The file with one physical line more for each anchor."""
    lines = list(source.lines)
    for anchor in reversed(anchors):
        text = anchor.insertion.marked().encode("ascii")
        ending = source.ending(max(anchor.line - 1, 0))  # of the line above: it has one, the last line may not
        lines.insert(anchor.line, source.indentation(anchor.neighbour) + text + ending)
    return Source(source.bom, tuple(lines))


def unpatched(data: bytes, recipe: Recipe) -> bytes:
    """Take the marked lines out.

    Args:
        data: the file.
        recipe: what had been inserted.

    Returns:
        The file without the marked lines.

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
            f"{recipe.file}: without the marked lines it would not parse (line {error.lineno}: {error.msg}); nothing "
            "was written. Mend the code around the lines marked `# vlltr-plugin`, then uninstall again"
        ) from error
    left = mentions(tree, recipe.reserved)
    if left and rest.data != data:
        raise InstallError(
            f"{recipe.file}: unmarked code still uses the plug-in (line {left[0]} once the marked lines are out; was "
            "the file reformatted after the installation?); nothing was written. Remove that code by hand, then "
            "uninstall again"
        )
    return rest.data
