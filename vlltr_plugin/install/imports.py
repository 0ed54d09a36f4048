"""The place of an import that must come before torch, but after the settings that torch reads when it comes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from vlltr_plugin.install.anchors import Anchor, Script, first_line
from vlltr_plugin.install.bindings import Spot
from vlltr_plugin.install.recipe import Insertion

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_IMPORTERS = ("import_module", "__import__")


def before_imports(script: Script, item: Insertion) -> Iterator[Anchor]:
    """Before the first statement that imports one of `item.modules` or a module of the checkout.

    So `os.environ["CUDA_VISIBLE_DEVICES"] = ...` above that import still comes first. Where only functions import such
    modules: before the function that trains; where nothing does: before the first statement. Any place further up
    fits as well.
    """
    body = script.tree.body
    first = _first_statement(body)
    if first == len(body):
        return
    late = any(_reaches(statement, script, item, deep=True) for statement in body)
    ends = (i for i in range(first, len(body)) if body[i] is script.top or _reaches(body[i], script, item))
    last = next(ends, first) if late else first
    while last > first and first_line(body[last]) < (body[last - 1].end_lineno or 0):
        last -= 1  # `import os; import torch`
    anchor = script.before(item, Spot(body, last))
    yield _where_it_stands(script, anchor, first) or anchor


def _first_statement(body: list[ast.stmt]) -> int:
    """Index of the first statement that is neither the docstring nor a `from __future__` import."""
    start = 0
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        start = int(isinstance(body[0].value.value, str))
    while start < len(body) and getattr(body[start], "module", None) == "__future__":
        start += 1
    return start


def _where_it_stands(script: Script, anchor: Anchor, first: int) -> Anchor | None:
    """The place where the line stands already, if it fits; None to take the place that was found.

    Above statements that are no imports it fits, but that is where settings for torch would be: it is moved.
    """
    at = script.standing.get(anchor.insertion.line)
    body, last = script.tree.body, anchor.spot.index
    if at is None or at >= anchor.line or (first and at < (body[first - 1].end_lineno or 0)):
        return None
    below = next(i for i in range(first, last + 1) if first_line(body[i]) >= at)
    if below > first and at < (body[below - 1].end_lineno or 0):
        return None  # inside a statement
    if all(isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body[below:last]):
        return Anchor(anchor.insertion, at, anchor.neighbour, Spot(body, below))
    return Anchor(anchor.insertion, anchor.line, anchor.neighbour, anchor.spot, also=at)


def _reaches(statement: ast.stmt, script: Script, item: Insertion, deep: bool = False) -> bool:
    """Whether running a statement may import one of the modules, or one of the checkout; `deep`: or what it defines."""
    return any(name in item.modules or not name or script.is_own(name) for name in _imported(statement, deep))


def _imported(node: ast.AST, deep: bool) -> Iterator[str]:
    """Top-level packages that running a statement imports, "" for a relative import."""
    if isinstance(node, _FUNCTIONS) and not deep:
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield "" if node.level else (node.module or "").split(".")[0]
    elif isinstance(node, ast.Call) and _name(node.func) in _IMPORTERS and node.args:
        name = node.args[0]
        yield from [str(name.value).split(".")[0]] if isinstance(name, ast.Constant) else []
    skipped = node.body if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING" else []
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _imported(child, deep)


def _name(node: ast.expr) -> str:
    """Last part of a name, with or without dots; "" for another expression."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
