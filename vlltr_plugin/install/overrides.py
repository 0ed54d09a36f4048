"""Classes of a host that override the method that trains, so that their training does not run the inserted lines."""

from __future__ import annotations

import ast
from pathlib import Path

from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.recipe import Patch
from vlltr_plugin.install.source import parse
from vlltr_plugin.install.syntax import dotted, imports, in_full, spots

_CONDITIONS = (ast.If, ast.For, ast.While, ast.Match)


def overriding_classes(root: Path, patch: Patch) -> tuple[list[str], bool]:
    """A sentence for each class whose training does not run the lines, and whether that is all the script makes."""
    made = _made(root, patch) if patch.made_in else []
    rows = [
        f"{patch.made_in}, line {line}, makes `{name}`, whose own {method} does not run the inserted lines: with "
        "reweight.type its training is refused at the first step"
        for line, name, method in made
        if method
    ]
    return rows, len(rows) == len(made)


def script_of(root: Path, file: str, usual: str) -> str:
    """The script that uses a file's classes: the usual one or another of the checkout's, else the file itself."""
    module = file.removesuffix(".py").replace("/", ".")
    for script in (root / usual, *sorted(root.glob("*.py"))):
        if any(f"{found.path}.".startswith(f"{module}.") for found in imports(_tree(script))):
            return script.relative_to(root).as_posix()
    return file


def _made(root: Path, patch: Patch) -> list[tuple[int, str, str]]:
    """The classes that the script makes and that have the method that trains, each with the line that makes it.

    The last part says where a method stands that does not run the lines; it is empty for one that does.
    """
    script = _tree(root / patch.made_in)
    holder, _, method = patch.function.partition(".")
    found = {}
    meanings = _meanings(script)
    for call in (node for node in ast.walk(script) if isinstance(node, ast.Call)):
        origin = _origin(root, root / patch.made_in, meanings, dotted(call.func))
        if origin and (owner := _owner(root, origin, method)):
            at, in_class, function = owner
            ours = at == root / patch.file and in_class == holder
            runs = ours or _calls_super(function, method) or _has_lines(at, function, patch)
            where = f"`{in_class}.{method}` ({at.relative_to(root).as_posix()}, line {function.lineno})"
            found[origin] = call.lineno, origin[1], "" if runs else where
    return list(found.values())


def _tree(path: Path) -> ast.Module:
    """A file's syntax; empty where it cannot be read."""
    try:
        return parse(path.read_bytes())
    except (OSError, SyntaxError):
        return parse(b"")


def _meanings(tree: ast.Module) -> dict[str, str]:
    """The names that a file imports, each with its full name."""
    return {found.name: found.means for found in imports(tree)}


def _origin(root: Path, file: Path, meanings: dict[str, str], name: str) -> tuple[Path, str] | None:
    """File and name of a class that a file of the checkout uses, where that is one of the checkout's own."""
    full = in_full(name, meanings)
    module, _, in_module = full.rpartition(".")
    path = root / f"{module.replace('.', '/')}.py" if full else file
    return (path, in_module or name) if path.is_file() else None


def _owner(root: Path, origin: tuple[Path, str], method: str) -> tuple[Path, str, ast.FunctionDef] | None:
    """File, class and definition of the method that a class of the checkout has or inherits."""
    seen = set()
    pending = [origin]
    while pending:
        file, name = pending.pop(0)
        if (file, name) in seen:
            continue
        seen.add((file, name))
        tree = _tree(file)
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in classes[name].body if name in classes else ():
            if isinstance(node, ast.FunctionDef) and node.name == method:
                return file, name, node
        names = [dotted(base) for base in classes[name].bases] if name in classes else [name]
        origins = (_origin(root, file, _meanings(tree), base) for base in names)
        pending = [origin for origin in origins if origin] + pending
    return None


def _calls_super(function: ast.FunctionDef, method: str) -> bool:
    """Whether it calls `super().train(...)` or `Trainer.train(self, ...)` in any case, not on a condition only."""
    simple = [
        spot.statement
        for spot in spots(function.body)
        if not hasattr(spot.statement, "body") and not any(isinstance(o, _CONDITIONS) for o in spot.owners())
    ]
    calls = [node for statement in simple for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return any(_is_inherited(call, method) for call in calls)


def _is_inherited(call: ast.Call, method: str) -> bool:
    """Whether a call is of the parent class's method; `self.tuner.train()` is the method of another object."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != method:
        return False
    owner = call.func.value
    by_super = isinstance(owner, ast.Call) and dotted(owner.func) == "super"
    return by_super or [dotted(argument) for argument in call.args[:1]] == ["self"]


def _has_lines(file: Path, function: ast.FunctionDef, patch: Patch) -> bool:
    hand = by_hand(file.read_bytes(), patch)
    inside = [line for line in hand.lines if function.lineno <= line <= (function.end_lineno or 0)]
    return hand.complete and bool(inside)
