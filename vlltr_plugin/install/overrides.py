"""Which classes the host's script makes, and whether their training runs the inserted lines."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.recipe import Patch
from vlltr_plugin.install.source import parse
from vlltr_plugin.install.syntax import dotted, spots

_CONDITIONS = (ast.If, ast.For, ast.While, ast.Match)


@dataclass(frozen=True)
class Made:
    """A class that the script makes, and that has or inherits the method that trains.

    Attributes:
        line: where the script makes it.
        name: the class.
        runs_lines: whether its method is the one with the lines, or calls it, or has lines of its own.
        method: where the method stands, in words.
    """

    line: int
    name: str
    runs_lines: bool
    method: str


def untouched_classes(root: Path, patch: Patch) -> tuple[list[str], bool]:
    """The classes that the script makes whose training does not run the lines."""
    made = _made(root, patch) if patch.made_in else []
    rows = [
        f"{patch.made_in}, line {one.line}, makes `{one.name}`, whose own {one.method} does not run the inserted "
        "lines: with reweight.type its training is refused at the first step"
        for one in made
        if not one.runs_lines
    ]
    return rows, len(rows) == len(made)


def script_of(root: Path, file: str, usual: str) -> str:
    """The script that uses a file's classes: the usual one or another of the checkout's, else the file itself."""
    for script in (root / usual, *sorted(root.glob("*.py"))):
        tree = _tree(script)
        if tree is not None and root / file in {source for source, _ in _imported(root, tree).values()}:
            return script.relative_to(root).as_posix()
    return file


def _made(root: Path, patch: Patch) -> list[Made]:
    script = _tree(root / patch.made_in)
    if script is None:
        return []
    holder, _, method = patch.function.partition(".")
    own = [node.name for node in script.body if isinstance(node, ast.ClassDef)]
    origin = _imported(root, script) | {name: (root / patch.made_in, name) for name in own}
    found = {}
    for node in ast.walk(script):
        if not isinstance(node, ast.Call) or dotted(node.func) not in origin:
            continue
        file, name = origin[dotted(node.func)]
        owner = _owner(root, file, name, method)
        if owner is not None:
            at, in_class, function = owner
            ours = at == root / patch.file and in_class == holder
            runs = ours or _calls_super(function, method) or _has_lines(at, function, patch)
            where = f"`{in_class}.{method}` ({at.relative_to(root).as_posix()}, line {function.lineno})"
            found[file, name] = Made(node.lineno, name, runs, where)
    return list(found.values())


def _tree(path: Path) -> ast.Module | None:
    try:
        return parse(path.read_bytes())
    except (OSError, SyntaxError):
        return None


def _imported(root: Path, tree: ast.Module) -> dict[str, tuple[Path, str]]:
    """Names by which a file calls what it imports from the checkout's own files: file and name there."""
    found: dict[str, tuple[Path, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            file = root / f"{node.module.replace('.', '/')}.py"
            found |= {alias.asname or alias.name: (file, alias.name) for alias in node.names if file.is_file()}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                file = root / f"{alias.name.replace('.', '/')}.py"
                module = _tree(file)
                for statement in module.body if module else []:
                    if isinstance(statement, ast.ClassDef):
                        found[f"{alias.asname or alias.name}.{statement.name}"] = (file, statement.name)
    return found


def _owner(root: Path, file: Path, name: str, method: str) -> tuple[Path, str, ast.FunctionDef] | None:
    """File, class and definition of the method that a class of the checkout has or inherits."""
    seen = set()
    pending = [(file, name)]
    while pending:
        file, name = pending.pop(0)
        tree = None if (file, name) in seen else _tree(file)
        seen.add((file, name))
        origin = _imported(root, tree) if tree else {}
        classes = {node.name: node for node in (tree.body if tree else []) if isinstance(node, ast.ClassDef)}
        if name not in classes:
            pending += [origin[name]] if name in origin else []
            continue
        for node in classes[name].body:
            if isinstance(node, ast.FunctionDef) and node.name == method:
                return file, name, node
        bases = [dotted(base) for base in classes[name].bases]
        pending = [origin.get(base, (file, base)) for base in bases] + pending
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
    """`self.tuner.train()` is the method of another object."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != method:
        return False
    owner = call.func.value
    by_super = isinstance(owner, ast.Call) and dotted(owner.func) == "super"
    return by_super or [dotted(argument) for argument in call.args[:1]] == ["self"]


def _has_lines(file: Path, function: ast.FunctionDef, patch: Patch) -> bool:
    hand = by_hand(file.read_bytes(), patch)
    inside = [line for line in hand.lines if function.lineno <= line <= (function.end_lineno or 0)]
    return hand.complete and bool(inside)
