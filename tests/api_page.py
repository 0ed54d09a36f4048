"""The page of the public API, made from the docstrings. `python tests/api_page.py` writes it; a test compares.

It reads the sources and imports none of them, so that the page is the same whatever is installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "vlltr_plugin/API.md"
OTHERS = {
    "Base class of losses": {"Criterion": "vlltr_plugin.core.criterion"},
    "Lightning": {"ReweightCallback": "vlltr_plugin.integrations.lightning"},
    "Hugging Face": {"ReweightCallback": "vlltr_plugin.integrations.huggingface"},
    "Trade-off curves (`vlltr_plugin.report.tradeoff`)": {
        "trade_off": "vlltr_plugin.report.tradeoff.sweep",
        "place": "vlltr_plugin.report.tradeoff.place",
        "TradeOff": "vlltr_plugin.report.tradeoff.curve",
    },
}
INTRO = """# Public API

Written by `python tests/api_page.py` from the docstrings: change those, not this page. Names under "`vlltr_plugin`" are
imported from there (`from vlltr_plugin import ClassVolume`), others from the module that stands beside them. Commands
and their options: `vlltr-plugin --help`. Keys of `reweight` in a host's config: [configs/README](../configs/README.md).

Symbols: C classes, B samples; n_i training images, m_i expected draws, r_i radius and alpha_i weight of class i;
E(alpha) is the mean of alpha over the draws.
"""
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Shape|Example):$")
HIDDEN = {"extra_repr", "train", "get_extra_state", "set_extra_state"} | {
    *("batch", "ended", "fold", "losses_of", "must_agree", "observe_batch", "observe_in_host", "run_by_host"),
}
"""Methods that torch or the package itself calls."""

Definition = ast.ClassDef | ast.FunctionDef


@cache
def module(name: str) -> ast.Module:
    """A module's syntax tree."""
    path = ROOT / name.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))


def definition(home: str, name: str) -> tuple[str, Definition] | None:
    """Where in the package a name is defined, and its class or function; None if it is not of the package."""
    for node in module(home).body:
        if isinstance(node, Definition) and node.name == name:
            return home, node
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vlltr_plugin."):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return definition(str(node.module), alias.name)
    return None


def bases(home: str, node: Definition) -> Iterator[tuple[str, Definition]]:
    """A definition and the package's classes that it inherits from, nearest first."""
    yield home, node
    for base in node.bases if isinstance(node, ast.ClassDef) else []:
        found = definition(home, base.id) if isinstance(base, ast.Name) else None
        if found:
            yield from bases(*found)


def methods(home: str, node: Definition, inherited: set[str]) -> dict[str, tuple[ast.FunctionDef, str]]:
    """Public methods, with the docstring of the nearest class that describes them in full.

    Those of classes named in `inherited`, and of their bases, are left out.
    """
    found: dict[str, tuple[ast.FunctionDef, str]] = {}
    for owner in takewhile(lambda one: one.name not in inherited, (one for _, one in bases(home, node))):
        for part in owner.body:
            if isinstance(part, ast.FunctionDef) and (not part.name.startswith("_") or part.name == "__call__"):
                known, text = found.get(part.name, (part, ""))
                better = ast.get_docstring(part) or ""
                found[part.name] = known, better if not text or text.startswith("As in ") else text
    return {name: one for name, one in found.items() if name not in HIDDEN}


def signature(home: str, node: Definition) -> str:
    """The arguments as the source has them; of a class those of its constructor."""
    if isinstance(node, ast.ClassDef):
        parts = [part for _, owner in bases(home, node) for part in owner.body]
        made = next((part for part in parts if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
        return node.name + (arguments(made) if made else "()")
    return node.name + arguments(node)


def arguments(function: ast.FunctionDef) -> str:
    """The arguments in brackets, without `self`, and what is returned."""
    text = re.sub(r"^self(, (/, )?|$)", "", ast.unparse(function.args))
    returned = "" if function.returns is None or function.name == "__init__" else f" -> {ast.unparse(function.returns)}"
    return f"({text}){returned}"


def markdown(docstring: str) -> list[str]:
    """A docstring's text: its sections as lists, its example as code."""
    lines: list[str] = []
    section = ""
    for line in docstring.splitlines():
        heading = SECTION.match(line)
        if heading:
            section = heading[1]
            lines += [f"**{section}**", "", *(["```python"] if section == "Example" else [])]
        elif section == "Example":
            lines.append(line[4:])
        elif section in ("", "Returns") or not line.strip():
            lines.append(line.strip())
        else:
            entry = re.match(r"^    ([^\s:][^:]*): (.*)$", line)
            lines.append(f"- `{entry[1]}`: {entry[2]}" if entry else f"  {line.strip()}")
    return [*lines, *(["```"] if section == "Example" else [])]


def entry(name: str, home: str, on_page: set[str]) -> list[str]:
    """One public name."""
    found = definition(home, name)
    assert found, f"{home} does not define {name}"
    where, node = found
    kind = "class " if isinstance(node, ast.ClassDef) else ""
    lines = [f"### {name}", "", "```python", f"{kind}{signature(where, node)}  # {home}", "```", ""]
    lines += [*markdown(ast.get_docstring(node) or ""), ""]
    inherited = [one.name for _, one in bases(where, node) if one is not node and one.name in on_page]
    for method, (function, text) in methods(where, node, set(inherited)).items() if kind else ():
        summary = " ".join(text.partition("\n\n")[0].split())
        decorators = {ast.unparse(one) for one in function.decorator_list}
        shown = method if "property" in decorators else method + arguments(function)
        lines.append(f"- `{shown}`: {summary}")
    if inherited:
        lines.append("- the methods of " + ", ".join(f"[{base}](#{base.lower()})" for base in inherited))
    return [*lines, ""]


def page() -> str:
    """The whole page."""
    imports = (node for node in module("vlltr_plugin.public").body if isinstance(node, ast.ImportFrom))
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}
    lines, parts = [INTRO], {"`vlltr_plugin`": homes, **OTHERS}
    on_page = {name for names in parts.values() for name in names}
    for title, names in parts.items():
        lines += [f"## {title}", ""]
        for name, home in sorted(names.items()):
            lines += entry(name, home, on_page)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
