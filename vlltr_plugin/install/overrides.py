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
    if not patch.made_in:
        return [], True
    path = root / patch.made_in
    script = _tree(path)
    meanings = _meanings(script)
    holder, _, method = patch.function.partition(".")
    made: dict[tuple[Path, str], str] = {}  # each class that has the method: what is wrong with it
    for call in (node for node in ast.walk(script) if isinstance(node, ast.Call)):
        origin = _origin(root, path, meanings, dotted(call.func))
        owner = _owner(root, origin, method) if origin else None
        if origin is None or owner is None:
            continue
        file, name, function = owner
        made[origin] = ""
        ours = file == root / patch.file and name == holder
        if not ours and not _runs_lines(file, function, patch):
            made[origin] = (
                f"{patch.made_in}, line {call.lineno}, makes `{origin[1]}`, whose own `{name}.{method}` "
                f"({file.relative_to(root).as_posix()}, line {function.lineno}) does not run the inserted lines: with "
                "reweight.type its training is refused at the first step"
            )
    rows = [row for row in made.values() if row]
    return rows, len(rows) == len(made)


def script_of(root: Path, file: str, usual: str) -> str:
    """The script that uses a file's classes: the usual one or another of the checkout's, else the file itself."""
    module = file.removesuffix(".py").replace("/", ".")
    for script in (root / usual, *sorted(root.glob("*.py"))):
        if any(f"{found.path}.".startswith(f"{module}.") for found in imports(_tree(script))):
            return script.relative_to(root).as_posix()
    return file


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


def _runs_lines(file: Path, function: ast.FunctionDef, patch: Patch) -> bool:
    """Whether a method holds the lines, or calls its parent's, as `super().train()` or `Trainer.train(self)`.

    A call that stands under a condition does not count.
    """
    hand = by_hand(file.read_bytes(), patch)
    if hand.complete and any(function.lineno <= line <= (function.end_lineno or 0) for line in hand.lines):
        return True
    for spot in spots(function.body):
        if hasattr(spot.statement, "body") or any(isinstance(owner, _CONDITIONS) for owner in spot.owners()):
            continue
        for call in (node for node in ast.walk(spot.statement) if isinstance(node, ast.Call)):
            if not isinstance(call.func, ast.Attribute) or call.func.attr != function.name:
                continue
            owner = call.func.value  # `self.tuner.train()` is the method of another object
            by_super = isinstance(owner, ast.Call) and dotted(owner.func) == "super"
            if by_super or [dotted(argument) for argument in call.args[:1]] == ["self"]:
                return True
    return False
