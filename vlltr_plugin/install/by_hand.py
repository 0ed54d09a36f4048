"""Lines of the plug-in that somebody inserted by hand: with or without markers, under other names of variables."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from vlltr_plugin.install.bindings import dotted
from vlltr_plugin.install.recipe import Insertion, Patch
from vlltr_plugin.install.source import parse

_HOOK = "reweight_hook"


@dataclass(frozen=True)
class ByHand:
    """What a file uses of the plug-in, however it is written.

    Attributes:
        lines: the lines (from 1) that use it.
        missing: names of the insertions that nothing stands for.
    """

    lines: tuple[int, ...]
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether something stands for each insertion."""
        return not self.missing

    def __str__(self) -> str:
        return f"lines {', '.join(map(str, self.lines))}"


def by_hand(data: bytes, patch: Patch) -> ByHand:
    """Looks for what a patch inserts in a file as it is."""
    try:
        tree = parse(data)
    except SyntaxError:
        return ByHand((), tuple(item.name for item in patch.insertions))
    used = _used(tree)
    missing = [item.name for item in patch.insertions if not any(_stands_for(name, item) for name in used)]
    return ByHand(tuple(sorted({line for lines in used.values() for line in lines})), tuple(missing))


def _stands_for(name: str, item: Insertion) -> bool:
    node = item.node
    if isinstance(node, ast.Import):
        return (name + ".").startswith(node.names[0].name + ".")
    return any(isinstance(part, ast.Attribute) and dotted(part) == name for part in ast.walk(node)) and "." in name


def _used(tree: ast.Module) -> dict[str, list[int]]:
    """The plug-in's names that a file uses, in full and with the hook under its usual name, with their lines."""
    names = {_HOOK: _HOOK}
    used: dict[str, list[int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                full = start + alias.name
                if full.split(".")[0] == "vlltr_plugin":
                    used.setdefault(full, []).append(node.lineno)
                    bound = alias.asname or (alias.name if start else alias.name.split(".")[0])
                    names[bound] = full if start or alias.asname else "vlltr_plugin"
    for node in ast.walk(tree):
        called = node.value.func if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) else None
        if isinstance(node, ast.Assign) and called is not None and _in_full(dotted(called), names).endswith(".attach"):
            names |= {dotted(target): _HOOK for target in node.targets}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (full := _in_full(dotted(node), names)):
            used.setdefault(full, []).append(node.lineno)
    return used


def _in_full(name: str, names: dict[str, str]) -> str:
    """A dotted name with what its beginning stands for; "" if that is not the plug-in's."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (start := ".".join(parts[:length])) in names:
            return ".".join([names[start], *parts[length:]])
    return ""
