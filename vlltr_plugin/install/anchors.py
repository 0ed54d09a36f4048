"""The rules that find places for lines in the host's syntax tree, by structure and never by line number."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vlltr_plugin.install.bindings import Function, Spot, spots, stored_names
from vlltr_plugin.install.recipe import Insertion
from vlltr_plugin.install.source import Source

_LOOPS = (ast.For, ast.AsyncFor, ast.While)


@dataclass(frozen=True)
class Anchor:
    """A place for one line.

    Args:
        insertion: what goes there.
        line: index of the physical line before which it goes.
        neighbour: index of the physical line whose indentation it copies.
        spot: its position among the statements (for a dict entry: the statement around the dict).
        literal: the dict that gets the entry, for an entry.
        entry: the entry's position in it.
    """

    insertion: Insertion
    line: int
    neighbour: int
    spot: Spot
    literal: ast.Dict | None = None
    entry: int = 0

    def graft(self) -> None:
        """Insert the line into the syntax tree itself."""
        node = self.insertion.node
        if self.literal is not None:
            assert isinstance(node, ast.expr)
            self.literal.keys.insert(self.entry, None)
            self.literal.values.insert(self.entry, node)
        else:
            assert isinstance(node, ast.stmt)
            self.spot.body.insert(self.spot.index, node)


class Refusal(Exception):  # noqa: N818
    """Why an insertion has no place."""


@dataclass(frozen=True)
class Host:
    """What the rules search: the file, its training function and its epoch loop."""

    source: Source
    tree: ast.Module
    function: Function
    loop: Spot

    @property
    def loop_statement(self) -> ast.For:
        """The epoch loop."""
        statement = self.loop.statement
        assert isinstance(statement, ast.For)
        return statement

    def before(self, item: Insertion, spot: Spot) -> Anchor:
        """Place on a line of its own before the statement at a spot."""
        line = _first_line(spot.statement)
        if len(self.source.indentation(line)) != spot.statement.col_offset:
            raise Refusal(f"the statement in line {line + 1} shares its line with other code: give it its own line")
        return Anchor(item, line, line, spot)

    def after(self, item: Insertion, spot: Spot) -> Anchor:
        """Place on a line of its own after the statement at a spot."""
        neighbour = self.before(item, spot).line
        end = spot.statement.end_lineno or 0
        following = spot.body[spot.index + 1 : spot.index + 2]
        if following and _first_line(following[0]) < end:
            raise Refusal(f"two statements share line {end}: give each its own line")
        return Anchor(item, end, neighbour, Spot(spot.body, spot.index + 1, spot.owner))


def _first_line(statement: ast.stmt) -> int:
    """Index of the physical line on which a statement starts; decorators belong to it."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def _outside_loops(spot: Spot, within: ast.stmt | None = None) -> bool:
    """Whether a spot runs at most once each time the function (or the loop `within`) runs."""
    for owner in spot.owners():
        if owner is within:
            return True
        if isinstance(owner, _LOOPS):
            return False
    return within is None


def _first_statement(host: Host, item: Insertion) -> Iterator[Anchor]:
    """Before the first statement that is neither the docstring nor a `from __future__` import."""
    start = 1 if ast.get_docstring(host.tree, clean=False) is not None else 0
    for index, statement in enumerate(host.tree.body):
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if index >= start and not future:
            yield host.before(item, Spot(host.tree.body, index))
            return


def _after_last_assignment(host: Host, item: Insertion) -> Iterator[Anchor]:
    """After the last statement before the epoch loop, at its level, that binds the subject, at any depth inside."""
    body = host.function.body
    setting = [i for i in range(host.loop.index) if item.subject in stored_names(body[i])]
    if setting:
        yield host.after(item, Spot(body, setting[-1]))


def _first_if_not_none(host: Host, item: Insertion) -> Iterator[Anchor]:
    """First in `if <subject> is not None:`."""
    for spot in spots(host.function.body):
        statement = spot.statement
        if isinstance(statement, ast.If) and _is_not_none(statement.test, item.subject):
            if not _outside_loops(spot):
                raise Refusal(f"`if {item.subject} is not None:` in line {statement.lineno} runs inside a loop")
            yield host.before(item, Spot(statement.body, 0, spot))


def _is_not_none(test: ast.expr, name: str) -> bool:
    return ast.dump(test) == ast.dump(ast.parse(f"{name} is not None", mode="eval").body)


def _first_in_loop(host: Host, item: Insertion) -> Iterator[Anchor]:
    """First in the epoch loop."""
    yield host.before(item, Spot(host.loop_statement.body, 0, host.loop))


def _after_call_assignment(host: Host, item: Insertion) -> Iterator[Anchor]:
    """After `<subject> = call(...)` in the epoch loop."""
    for spot in spots(host.loop_statement.body, host.loop):
        statement = spot.statement
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not isinstance(statement.value, ast.Call):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if any(isinstance(target, ast.Name) and target.id == item.subject for target in targets):
            if not _outside_loops(spot, host.loop_statement):
                raise Refusal(f"`{item.subject}` in line {statement.lineno} is set inside a loop of the epoch loop")
            yield host.after(item, spot)


def _dict_entry(host: Host, item: Insertion) -> Iterator[Anchor]:
    """A new entry of the dict literal given to a call of the subject, before the first entry that starts a line."""
    for spot in spots(host.loop_statement.body, host.loop):
        for call in _own_calls(spot.statement, item.subject):
            literal = call.args[0] if call.args else None
            if not isinstance(literal, ast.Dict):
                raise Refusal(f"the first argument of `{item.subject}` in line {call.lineno} is no dict literal; "
                               f"expected {item.place}")  # fmt: skip
            yield _entry_anchor(host, item, spot, literal)


def _own_calls(statement: ast.stmt, name: str) -> list[ast.Call]:
    """Calls of a function (as `name` or `module.name`) in a statement's own expressions, not in its blocks."""
    found: list[ast.Call] = []
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            found += [node] if called == name else []
        children = ast.iter_child_nodes(node)
        pending += [child for child in children if isinstance(child, (ast.expr, ast.keyword, ast.withitem))]
    return found


def _entry_anchor(host: Host, item: Insertion, spot: Spot, literal: ast.Dict) -> Anchor:
    """The place in a dict literal: before its first entry that starts a physical line."""
    for index, (key, value) in enumerate(zip(literal.keys, literal.values, strict=True)):
        line = (key or value).lineno - 1
        column = key.col_offset if key else value.col_offset - len("**")
        if len(host.source.indentation(line)) == column:
            return Anchor(item, line, line, spot, literal, index)
    raise Refusal(
        f"the dict given to `{item.subject}` in line {literal.lineno} has no entry on a line of its own: "
        f"write it over several lines, or add the entry `{item.line}` to it by hand"
    )


RULES: dict[str, Callable[[Host, Insertion], Iterator[Anchor]]] = {
    "first_statement": _first_statement,
    "after_last_assignment": _after_last_assignment,
    "first_if_not_none": _first_if_not_none,
    "first_in_loop": _first_in_loop,
    "after_call_assignment": _after_call_assignment,
    "dict_entry": _dict_entry,
}
