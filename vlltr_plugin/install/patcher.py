"""Computes a file's bytes with the plug-in's lines inserted or removed; does not access the disk."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vlltr_plugin.errors import InstallError
from vlltr_plugin.install import rules
from vlltr_plugin.install.by_hand import ByHand, by_hand
from vlltr_plugin.install.recipe import Patch
from vlltr_plugin.install.script import Anchor, Refusal, Script, Training, find_training
from vlltr_plugin.install.syntax import MarkedLine, Source, bound_before, dotted, mentions, parse, stores


@dataclass(frozen=True)
class Insertions:
    """A file of the host, as it is and as `install` would write it."""

    patch: Patch
    before: bytes
    after: bytes  # unchanged if refused
    refused: str  # why a line has no suitable place; empty if all lines have one
    anchors: list[Anchor] = field(default_factory=list)  # where the lines go, by the lines of the file without them

    @cached_property
    def marked(self) -> list[MarkedLine]:
        """The plug-in's lines that are there now."""
        return Source.of(self.before).marked()

    @cached_property
    def hand(self) -> ByHand:
        """The lines of the file that use the plug-in, however they are written."""
        return by_hand(self.before, self.patch)

    @property
    def kept(self) -> bool:
        """True if `install` leaves the file unchanged, since all its lines were inserted by hand."""
        whole = sorted(line.code for line in self.marked) == sorted(item.line for item in self.patch.insertions)
        return bool(self.refused) and not self.hand.problems and not whole

    @property
    def complete(self) -> bool:
        """True if all lines are there."""
        return self.kept or {line.code for line in self.marked} >= {item.line for item in self.patch.insertions}


def with_lines(data: bytes, patch: Patch, root: Path | None = None) -> Insertions:
    """Inserts the lines, in place of any that an earlier installation left; `root` is the checkout."""
    try:
        after, anchors = _inserted(Source.of(data), patch, root)
        return Insertions(patch, data, after, "", anchors)
    except Refusal as refusal:
        hand = by_hand(data, patch)
        reasons = [f"{patch.file}: {refusal}", *(hand.problems if hand.lines else ())]
        return Insertions(patch, data, data, "; ".join(reasons))


def without_lines(data: bytes, patch: Patch) -> bytes:
    """Removes the marked lines.

    Raises:
        InstallError: if the file would no longer work: other lines still use the plug-in, or need a marked one.
    """
    rest = Source.of(data).without_marked().data
    try:
        parse(data)
    except SyntaxError:
        return rest  # the file was already broken
    try:
        tree = parse(rest)
    except SyntaxError as error:
        raise InstallError(
            f"{patch.file}: without the marked lines it would not parse (line {error.lineno}: {error.msg}); nothing "
            "was written. Mend the code around the lines marked `# vlltr-plugin`, then uninstall again"
        ) from error
    if rest != data and (left := mentions(tree, patch.reserved)):
        raise InstallError(
            f"{patch.file}: unmarked code still uses the plug-in (line {left[0]} once the marked lines are out; was "
            "the file reformatted after the installation?); nothing was written. Remove that code by hand, then "
            "uninstall again"
        )
    return rest


def _inserted(given: Source, patch: Patch, root: Path | None) -> tuple[bytes, list[Anchor]]:
    """The file with one more physical line for each anchor, and the anchors; raises a Refusal."""
    source = given.without_marked()
    try:
        tree = parse(source.data)
    except SyntaxError as error:
        raise Refusal(f"expected Python, but line {error.lineno} does not parse ({error.msg})") from error
    if taken := mentions(tree, patch.reserved):
        names = " and ".join(f"`{name}`" for name in sorted(patch.reserved))
        raise Refusal(f"expected the names {names} to be unused, but line {taken[0]} uses one")
    trains = find_training(tree, patch) if patch.function else None
    standing = {line.code: line.at for line in given.marked()}
    anchors = _anchors(Script(source, tree, trains, standing, root), patch)

    lines = list(source.lines)
    for anchor in reversed(anchors):  # from the end, so that earlier positions stay valid
        text = anchor.insertion.marked().encode("ascii")
        ending = source.ending(
            max(anchor.line - 1, 0)
        )  # line ending of the line above, since the last line may have none
        lines.insert(anchor.line, source.indentation(anchor.neighbour) + text + ending)
        anchor.graft()
    result = Source(source.bom, tuple(lines))
    try:
        same = ast.dump(parse(result.data)) == ast.dump(tree)
    except SyntaxError:
        same = False
    if not same or result.without_marked().data != source.data:
        raise Refusal("the lines would change the meaning of the lines around them")
    return result.data, anchors


def _anchors(script: Script, patch: Patch) -> list[Anchor]:
    """Finds the places of all insertions: each exactly once, in order, with the variables of its line set."""
    anchors: list[Anchor] = []
    problems: list[str] = []
    for item in patch.insertions:
        try:
            found: list[Anchor] = list(getattr(rules, item.rule)(script, item))
            if not found:
                raise Refusal(f"found no place for it; expected {item.place}")
            if len(found) > 1:
                lines = ", ".join(str(anchor.line + 1) for anchor in found)
                raise Refusal(f"found {len(found)} places (before lines {lines}), expected one: {item.place}")
            if anchors and anchors[-1].line >= found[0].line:
                raise Refusal(
                    f"its place (line {found[0].line + 1}) comes before that of `{anchors[-1].insertion.name}` "
                    f"(line {anchors[-1].line + 1}); expected it {item.place}"
                )
            if found[0].spot.body is not script.tree.body:
                _check_training(script.training, found[0], patch)
            anchors += found
        except Refusal as refusal:
            problems.append(f"anchor `{item.name}`: {refusal}")
    if problems:
        raise Refusal("; ".join(problems))
    return anchors


def _check_training(trains: Training, anchor: Anchor, patch: Patch) -> None:
    """Raises a Refusal if a line's variables may be unset at its place, or the epoch loop misuses them."""
    item = anchor.insertion
    used = (node for node in ast.walk(item.node) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    needed = {node.id for node in used} - patch.reserved
    if missing := sorted(needed - bound_before(trains.function, anchor.spot)):
        names = ", ".join(f"`{name}`" for name in missing)
        raise Refusal(
            f"its line uses {names}, which may not be set in `{patch.function}` before line {anchor.line + 1}"
        )
    for name, line in stores(*trains.function.body) if item.holds_names else ():
        since = trains.loop.lineno if name == patch.loop else anchor.line
        if name in needed and since < line <= (trains.loop.end_lineno or 0):
            raise Refusal(f"its line uses `{name}`, which line {line} sets again before the epoch loop ends")

    # `attach` replaces the criterion: an attribute that the loop sets on it would not reach the host's own.
    nodes = list(ast.walk(trains.loop))
    for node in nodes:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            name, owner = dotted(node), dotted(node.value)
            if name in item.holds or owner in item.calls:
                raise Refusal(f"the epoch loop sets `{name}` again in line {node.lineno}")
    called = {dotted(node.func) for node in nodes if isinstance(node, ast.Call)}
    for name in item.calls:
        if name not in called:
            raise Refusal(f"the epoch loop does not call `{name}`: there is nothing that could be re-weighted")
