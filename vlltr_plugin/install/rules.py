"""Rules that find places for lines in the host's syntax tree, by structure and not by line number.

A recipe refers to a rule by its function's name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from vlltr_plugin.install.recipe import Insertion
from vlltr_plugin.install.script import LOOPS, Anchor, Refusal, Script
from vlltr_plugin.install.syntax import Spot, dotted, first_line, last_part, spots, stored_names

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_IMPORTERS = ("import_module", "__import__")


def after_module_assignment(script: Script, item: Insertion) -> Iterator[Anchor]:
    """After a module-level statement that assigns the subject."""
    for index, statement in enumerate(script.tree.body):
        if _assigns(statement, item.subject):
            yield script.after(item, Spot(script.tree.body, index))


def _assigns(statement: ast.stmt, name: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def before_function(script: Script, item: Insertion) -> Iterator[Anchor]:
    """At module level, after the statement before the function `subject`."""
    for index, statement in enumerate(script.tree.body):
        if index and isinstance(statement, ast.FunctionDef) and statement.name == item.subject:
            yield script.after(item, Spot(script.tree.body, index - 1))


def after_last_assignment(script: Script, item: Insertion) -> Iterator[Anchor]:
    """After the last statement before the epoch loop, at its level, that binds the subject, also in a nested block."""
    body, loop = script.training.function.body, script.training.epochs
    while loop.owner is not None:
        loop = loop.owner
    setting = [i for i in range(loop.index) if item.subject in stored_names(body[i])]
    if setting:
        yield script.after(item, Spot(body, setting[-1]))


def first_if_not_none(script: Script, item: Insertion) -> Iterator[Anchor]:
    """First in `if <subject> is not None:`."""
    test = ast.dump(ast.parse(f"{item.subject} is not None", mode="eval").body)
    for spot in spots(script.training.function.body):
        statement = spot.statement
        if isinstance(statement, ast.If) and ast.dump(statement.test) == test:
            if any(isinstance(owner, LOOPS) for owner in spot.owners()):
                raise Refusal(f"`if {item.subject} is not None:` in line {statement.lineno} runs inside a loop")
            yield script.before(item, Spot(statement.body, 0, spot))


def before_loop(script: Script, item: Insertion) -> Iterator[Anchor]:
    """Before the epoch loop."""
    yield script.before(item, script.training.epochs)


def first_in_loop(script: Script, item: Insertion) -> Iterator[Anchor]:
    """First in the epoch loop."""
    yield script.before(item, Spot(script.training.loop.body, 0, script.training.epochs))


def after_call(script: Script, item: Insertion) -> Iterator[Anchor]:
    """After a statement `<subject>(...)` at the epoch loop's own level."""
    trains, found = script.training, False
    for index, statement in enumerate(trains.loop.body):
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and dotted(call.func) == item.subject:
            found = True
            yield script.after(item, Spot(trains.loop.body, index, trains.epochs))
    if not found:
        calls = [node for node in ast.walk(trains.function) if isinstance(node, ast.Call)]
        lines = ", ".join(str(call.lineno) for call in calls if dotted(call.func) == item.subject)
        there = f"it is called in line {lines} only" if lines else f"`{trains.function.name}` never calls it"
        raise Refusal(f"found no place for it: {there}; expected {item.place}")


def after_call_assignment(script: Script, item: Insertion) -> Iterator[Anchor]:
    """After `<subject> = call(...)` in the epoch loop."""
    trains = script.training
    for spot in spots(trains.loop.body, trains.epochs):
        statement = spot.statement
        assignment = isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, ast.Call)
        if assignment and _assigns(statement, item.subject):
            if next(owner for owner in spot.owners() if isinstance(owner, LOOPS)) is not trains.loop:
                raise Refusal(f"`{item.subject}` in line {statement.lineno} is set inside a loop of the epoch loop")
            yield script.after(item, spot)


def dict_entry(script: Script, item: Insertion) -> Iterator[Anchor]:
    """A new entry of the dict literal given to a call of the subject, before the first entry that starts a line."""
    for spot in spots(script.training.loop.body, script.training.epochs):
        for call in _own_calls(spot.statement, item.subject):
            literal = call.args[0] if call.args else None
            if not isinstance(literal, ast.Dict):
                raise Refusal(f"the first argument of `{item.subject}` in line {call.lineno} is no dict literal; "
                               f"expected {item.place}")  # fmt: skip
            yield _entry_anchor(script, item, spot, literal)


def _own_calls(statement: ast.stmt, name: str) -> list[ast.Call]:
    """Calls of a function (as `name` or `module.name`) in a statement's own expressions, not in its blocks."""
    found: list[ast.Call] = []
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call) and last_part(node.func) == name:
            found.append(node)
        children = ast.iter_child_nodes(node)
        pending += [child for child in children if isinstance(child, (ast.expr, ast.keyword, ast.withitem))]
    return found


def _entry_anchor(script: Script, item: Insertion, spot: Spot, literal: ast.Dict) -> Anchor:
    """The place in a dict literal: before its first entry that starts a physical line."""
    for index, (key, value) in enumerate(zip(literal.keys, literal.values, strict=True)):
        line = (key or value).lineno - 1
        column = key.col_offset if key else value.col_offset - len("**")
        if len(script.source.indentation(line)) == column:
            return Anchor(item, line, line, spot, literal, index)
    raise Refusal(
        f"the dict given to `{item.subject}` in line {literal.lineno} has no entry on a line of its own: "
        f"write it over several lines, or add the entry `{item.line}` to it by hand"
    )


def before_imports(script: Script, item: Insertion) -> Iterator[Anchor]:
    """Before the first statement that imports one of `item.modules` or a module of the checkout.

    So `os.environ["CUDA_VISIBLE_DEVICES"] = ...` above that import still comes first. Where only functions import such
    modules: before the function that trains; where nothing does: before the first statement. Any place further up
    fits as well.
    """
    body = script.tree.body
    first = int(ast.get_docstring(script.tree, clean=False) is not None)
    while first < len(body) and getattr(body[first], "module", None) == "__future__":
        first += 1
    if first == len(body):
        return

    def reaches(statement: ast.stmt, deep: bool = False) -> bool:
        """True if running a statement, or with `deep` a function that it defines, may import such a module."""
        return any(name in item.modules or not name or script.is_own(name) for name in _imported(statement, deep))

    last = first
    if any(reaches(statement, deep=True) for statement in body):
        trains = script.trains.function if script.trains else None
        ends = (i for i in range(first, len(body)) if trains in {*ast.walk(body[i])} or reaches(body[i]))
        last = next(ends, first)
    while last > first and first_line(body[last]) < (body[last - 1].end_lineno or 0):
        last -= 1  # `import os; import torch`
    anchor = script.before(item, Spot(body, last))
    yield _where_it_stands(script, anchor, first) or anchor


def _where_it_stands(script: Script, anchor: Anchor, first: int) -> Anchor | None:
    """The present place of the line if it fits; None to use the place that was found.

    A line above statements other than imports fits, but these may be settings for torch, so it is moved.
    """
    at = script.standing.get(anchor.insertion.line)
    body, last = script.tree.body, anchor.spot.index
    if at is None or at >= anchor.line or (first and at < (body[first - 1].end_lineno or 0)):
        return None
    below = next(i for i in range(first, last + 1) if first_line(body[i]) >= at)
    if below > first and at < (body[below - 1].end_lineno or 0):
        return None  # inside a statement
    if all(isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body[below:last]):
        return replace(anchor, line=at, spot=Spot(body, below))
    return replace(anchor, also=at)


def _imported(node: ast.AST, deep: bool) -> Iterator[str]:
    """Top-level packages that running a statement imports, "" for a relative import."""
    if isinstance(node, _FUNCTIONS) and not deep:
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield "" if node.level else (node.module or "").split(".")[0]
    elif isinstance(node, ast.Call) and last_part(node.func) in _IMPORTERS and node.args:
        name = node.args[0]
        yield from [str(name.value).split(".")[0]] if isinstance(name, ast.Constant) else []
    skipped = node.body if isinstance(node, ast.If) and last_part(node.test) == "TYPE_CHECKING" else []
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _imported(child, deep)
