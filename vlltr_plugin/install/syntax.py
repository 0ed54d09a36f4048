"""Which names a function has surely bound at a given spot, and where it binds them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

Function = ast.FunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TRIES: tuple[type[ast.stmt], ...] = (ast.Try, *([ast.TryStar] if hasattr(ast, "TryStar") else []))


@dataclass(frozen=True)
class Spot:
    """A position in a list of statements.

    Attributes:
        body: the list.
        index: the position: of a statement, or where one would be inserted.
        owner: the spot of the compound statement that holds the list; None at the function's own level.
    """

    body: list[ast.stmt]
    index: int
    owner: Spot | None = None

    @property
    def statement(self) -> ast.stmt:
        """The statement at the position."""
        return self.body[self.index]

    def owners(self) -> Iterator[ast.stmt]:
        """The compound statements around the spot, innermost first."""
        spot = self.owner
        while spot is not None:
            yield spot.statement
            spot = spot.owner


def spots(body: list[ast.stmt], owner: Spot | None = None) -> Iterator[Spot]:
    """All statements of a list and of the blocks inside them, in file order, without nested functions and classes."""
    for index, statement in enumerate(body):
        spot = Spot(body, index, owner)
        yield spot
        if not isinstance(statement, _SCOPES):
            for block in _blocks(statement):
                yield from spots(block, spot)


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The lists of statements directly inside a compound statement."""
    nested = [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
    own = [getattr(statement, field, []) for field in ("body", "orelse", "finalbody")]
    return [own[0], *(part.body for part in nested), *own[1:]]


class _Stores(ast.NodeVisitor):
    """Collects (name, line) of every binding and deletion, without those of nested scopes."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.found.append((node.id, node.lineno))

    def visit_alias(self, node: ast.alias) -> None:
        self.found.append(((node.asname or node.name).split(".")[0], node.lineno))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.found.append((node.name, node.lineno))
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _SCOPES):
            self.found.append((node.name, node.lineno))
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            super().generic_visit(node)


def stores(*nodes: ast.AST) -> list[tuple[str, int]]:
    """Names that the nodes bind or delete, with line numbers (1-based), nested scopes left out."""
    visitor = _Stores()
    for node in nodes:
        visitor.visit(node)
    return visitor.found


def stored_names(*nodes: ast.AST) -> set[str]:
    """Names that the nodes bind or delete, perhaps only on some paths."""
    return {name for name, _ in stores(*nodes)}


def surely_bound(statements: list[ast.stmt]) -> set[str] | None:
    """Names bound on every path through the statements; None if no path leads past them."""
    names: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.Delete):
            names -= stored_names(statement)
            continue
        bound = _bound_after(statement)
        if bound is None:
            return None
        names |= bound
    return names


def _bound_after(statement: ast.stmt) -> set[str] | None:
    """Names that one statement surely binds; None if nothing runs after it."""
    if isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
        return None
    if isinstance(statement, ast.If):
        if isinstance(statement.test, ast.Constant):
            return surely_bound(statement.body if statement.test.value else statement.orelse)
        return _common([surely_bound(statement.body), surely_bound(statement.orelse)])
    if isinstance(statement, ast.With):
        inside = surely_bound(statement.body)
        return None if inside is None else inside | stored_names(*statement.items)
    if isinstance(statement, _TRIES):
        body, *handlers, orelse, final = _blocks(statement)
        paths = [surely_bound(body + orelse), *(surely_bound(handler) for handler in handlers)]
        common, after = _common(paths), surely_bound(final)
        return None if common is None or after is None else common | after
    if any(_blocks(statement)) and not isinstance(statement, _SCOPES):
        return set()  # loops may run zero times, `match` may not match
    return stored_names(statement)


def _common(paths: list[set[str] | None]) -> set[str] | None:
    """Names bound on all paths that go on."""
    going_on = [path for path in paths if path is not None]
    return set.intersection(*going_on) if going_on else None


def bound_before(function: Function, spot: Spot) -> set[str]:
    """Names that a function has surely bound when it reaches a spot: its arguments count."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = {argument.arg for argument in every if argument is not None}
    level: Spot | None = spot
    while level is not None:
        names |= surely_bound(level.body[: level.index]) or set()
        level = level.owner
        if level is not None:
            names |= _bound_by_entering(level.statement)
    return names


def _bound_by_entering(statement: ast.stmt) -> set[str]:
    """Names bound once the body of a compound statement runs."""
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return stored_names(statement.target)
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return stored_names(*statement.items)
    if isinstance(statement, ast.If):
        tested = statement.test
        return {tested.left.id} if isinstance(tested, ast.Compare) and isinstance(tested.left, ast.Name) else set()
    return set()


def dotted(node: ast.expr) -> str:
    """A name with its dots, `self.sched.step`; "" for another expression."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def mentions(tree: ast.AST, names: frozenset[str]) -> list[int]:
    """Lines (1-based) that use one of the names as an identifier of any kind, in any scope."""
    lines: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            continue
        for _, value in ast.iter_fields(node):
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and text.split(".")[0] in names for text in texts):
                lines.append(getattr(node, "lineno", 0))
    return sorted(set(lines))


def first_line(statement: ast.stmt) -> int:
    """Index of the physical line on which a statement starts; decorators belong to it."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1
