"""A Python file as bytes, lines and syntax tree: the plug-in's lines in it, positions, bound names, imports."""

from __future__ import annotations

import ast
import codecs
import contextlib
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_OWN_NAMES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_TRIES: tuple[type[ast.stmt], ...] = (ast.Try, *([ast.TryStar] if hasattr(ast, "TryStar") else []))

# Python ends a line at LF, CRLF or a lone CR and nowhere else (bytes.splitlines would also do, str's would not).
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
# The line must also name the plug-in's code, so that another comment that ends like a marker is never removed; one
# more comment may follow (a linter's pragma). The version is free: every version finds the lines of every other one.
_MARKED = re.compile(
    rb"^(?P<code>.*\b(?:vlltr_plugin|reweight_hook)\b.*?)\s*#\s*vlltr-plugin(?:\s+(?P<version>\d[\w.+!-]*))?\s*(?:#.*)?$"
)


@dataclass(frozen=True)
class MarkedLine:
    """A line that the plug-in inserted."""

    index: int  # among all lines
    at: int  # how many unmarked lines stand before it
    code: str  # without indentation and marker
    version: str  # that its marker states, or "unknown"


@dataclass(frozen=True)
class Source:
    """A file, byte for byte: its byte order mark, if any, and its lines with their endings."""

    bom: bytes
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, data: bytes) -> Source:
        """Splits a file's bytes."""
        bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        return cls(bom, tuple(_LINE.findall(data[len(bom) :])))

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return self.bom + b"".join(self.lines)

    def indentation(self, index: int) -> bytes:
        """Leading blanks of a line."""
        line = self.lines[index]
        return line[: len(line) - len(line.lstrip(b" \t\f"))]

    def ending(self, index: int) -> bytes:
        """Line ending of a line; LF if it has none."""
        line = self.lines[index]
        return line[len(line.rstrip(b"\r\n")) :] or b"\n"

    def marked(self) -> list[MarkedLine]:
        """The plug-in's lines, in file order."""
        matches = {i: m for i, line in enumerate(self.lines) if (m := _MARKED.match(line.rstrip(b"\r\n")))}
        quoted: set[int] = set()  # lines that end inside a string: what looks like a marker there is text
        with contextlib.suppress(SyntaxError):
            for node in ast.walk(parse(self.data)) if matches else ():
                if isinstance(node, ast.Constant | ast.JoinedStr):
                    quoted.update(range(node.lineno - 1, (node.end_lineno or node.lineno) - 1))
        found: list[MarkedLine] = []
        for index, match in matches.items():
            if index not in quoted:
                code = match["code"].decode("utf-8", "replace").strip()
                version = (match["version"] or b"unknown").decode("ascii", "replace")
                found.append(MarkedLine(index, index - len(found), code, version))
        return found

    def without_marked(self) -> Source:
        """The file without the plug-in's lines."""
        ours = {line.index for line in self.marked()}
        return Source(self.bom, tuple(line for i, line in enumerate(self.lines) if i not in ours))

    def text_lines(self) -> list[str]:
        """The lines as text without their endings, for display only."""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.data).readline)
        except SyntaxError:
            encoding = "utf-8"
        return [line.rstrip(b"\r\n").decode(encoding, "replace") for line in self.lines]


def parse(data: bytes) -> ast.Module:
    """Parses a file's bytes without the host's own warnings (such as invalid escapes); SyntaxError if it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(data)
        except ValueError as error:  # null bytes, up to Python 3.11.3
            raise SyntaxError(str(error)) from error


@dataclass(frozen=True)
class Spot:
    """A position in a list of statements."""

    body: list[ast.stmt]
    index: int  # of a statement, or where one would be inserted
    owner: Spot | None = None  # the compound statement that holds the list; None at the function's own level

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


def stores(*nodes: ast.AST) -> list[tuple[str, int]]:
    """Names that the nodes bind or delete, with line numbers (1-based), nested scopes left out."""
    found: list[tuple[str, int]] = []
    pending = [*reversed(nodes)]
    while pending:
        node = pending.pop()
        if isinstance(node, _SCOPES) or (isinstance(node, ast.ExceptHandler) and node.name):
            found.append((str(node.name), node.lineno))
        elif isinstance(node, ast.alias):
            found.append(((node.asname or node.name).split(".")[0], node.lineno))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.append((node.id, node.lineno))
        if not isinstance(node, (*_SCOPES, *_OWN_NAMES)):
            pending += [*ast.iter_child_nodes(node)][::-1]
    return found


def stored_names(*nodes: ast.AST) -> set[str]:
    """Names that the nodes bind or delete, perhaps only on some paths."""
    return {name for name, _ in stores(*nodes)}


def bound_before(function: ast.FunctionDef, spot: Spot) -> set[str]:
    """Names that a function has surely bound when it reaches a spot: its arguments count."""
    names = {node.arg for node in ast.iter_child_nodes(function.args) if isinstance(node, ast.arg)}
    level: Spot | None = spot
    while level is not None:
        names |= _surely_bound(level.body[: level.index]) or set()
        level = level.owner
        around = level.statement if level else None  # entering it may bind names as well
        if isinstance(around, ast.For | ast.AsyncFor):
            names |= stored_names(around.target)
        elif isinstance(around, ast.With | ast.AsyncWith):
            names |= stored_names(*around.items)
        elif isinstance(around, ast.If) and isinstance(around.test, ast.Compare):
            names |= {node.id for node in [around.test.left] if isinstance(node, ast.Name)}
    return names


def _surely_bound(statements: list[ast.stmt]) -> set[str] | None:
    """Names bound on every path through the statements; None if no path leads past them."""
    names: set[str] = set()
    for statement in statements:
        bound: set[str] | None = set()  # of loops, which may run zero times, and of `match`, which may not match
        if isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
            return None
        if isinstance(statement, ast.Delete):
            names -= stored_names(statement)
        elif isinstance(statement, ast.If):
            paths = [statement.body, statement.orelse]
            if isinstance(statement.test, ast.Constant):
                paths = [paths[0] if statement.test.value else paths[1]]
            bound = _common(paths)
        elif isinstance(statement, ast.With):
            inside = _surely_bound(statement.body)
            bound = None if inside is None else inside | stored_names(*statement.items)
        elif isinstance(statement, _TRIES):
            body, *handlers, orelse, final = _blocks(statement)
            common, after = _common([body + orelse, *handlers]), _surely_bound(final)
            bound = None if common is None or after is None else common | after
        elif isinstance(statement, _SCOPES) or not any(_blocks(statement)):
            bound = stored_names(statement)
        if bound is None:
            return None
        names |= bound
    return names


def _common(paths: list[list[ast.stmt]]) -> set[str] | None:
    """Names bound on all of the paths that go on."""
    going_on = [bound for path in paths if (bound := _surely_bound(path)) is not None]
    return set.intersection(*going_on) if going_on else None


class Import(NamedTuple):
    """A name that a file imports."""

    line: int
    path: str  # what is imported, in full
    name: str  # the name that it gets
    means: str  # what this name stands for, in full


def imports(tree: ast.AST) -> Iterator[Import]:
    """All imports of a file that are not relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                yield Import(node.lineno, alias.name, alias.asname or first, alias.name if alias.asname else first)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                path = f"{node.module}.{alias.name}"
                yield Import(node.lineno, path, alias.asname or alias.name, path)


def in_full(name: str, meanings: dict[str, str]) -> str:
    """A dotted name with what its beginning stands for; "" where that is not known."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (start := ".".join(parts[:length])) in meanings:
            return ".".join([meanings[start], *parts[length:]])
    return ""


def dotted(node: ast.expr) -> str:
    """A name with its dots, `self.sched.step`; "" for another expression."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def last_part(node: ast.expr) -> str:
    """The last part of a name with or without dots, whatever it is an attribute of; "" for another expression."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def first_line(statement: ast.stmt) -> int:
    """Index of the physical line on which a statement starts; decorators belong to it."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def mentions(tree: ast.AST, names: frozenset[str]) -> list[int]:
    """Lines (1-based) that use one of the names as an identifier of any kind, in any scope."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            continue
        for _, value in ast.iter_fields(node):
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and text.split(".")[0] in names for text in texts):
                lines.add(getattr(node, "lineno", 0))
    return sorted(lines)
