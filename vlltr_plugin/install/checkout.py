"""Analyses a checkout: its host, the files that get lines, and classes whose training bypasses the lines."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vlltr_plugin.errors import InstallError
from vlltr_plugin.install.by_hand import by_hand
from vlltr_plugin.install.config_copies import FOLDER
from vlltr_plugin.install.patcher import with_lines
from vlltr_plugin.install.recipe import Patch, Recipe, load_recipes
from vlltr_plugin.install.script import Refusal, find_function
from vlltr_plugin.install.syntax import Source, dotted, imports, in_full, parse, spots

AUTO = "auto"
_CONDITIONS = (ast.If, ast.For, ast.While, ast.Match)


def open_checkout(path: str | Path, host: str = AUTO, files: Sequence[str] = ()) -> tuple[Path, Recipe]:
    """Identifies the host of a checkout, and checks that the checkout can be changed.

    Raises:
        InstallError: if it is not a folder or not a checkout of a known host, or if a file or folder to change in it
            is a symbolic link (replacing a link, or writing through it, would change files outside this checkout).
    """
    recipes = load_recipes()
    if host not in (AUTO, *recipes):
        raise InstallError(f"expected the host to be {AUTO} or one of {', '.join(recipes)}, but got {host!r}")
    root = Path(path).expanduser()
    known = [recipe for name, recipe in recipes.items() if host in (AUTO, name)]
    names = " or ".join(recipe.host for recipe in reversed(known))
    if not root.is_dir():
        raise InstallError(f"{root}: expected the folder of a {names} checkout, but this is no folder")
    root = root.resolve()
    known = _chosen(root, known, files) if files else [_with_marked_files(root, recipe) for recipe in known]
    missing = {
        recipe.name: [file for file in recipe.files if not ((root / file).is_file() or (root / file).is_symlink())]
        for recipe in known
    }
    there = [recipe for recipe in known if not missing[recipe.name]]
    ranks = {recipe.name: _rank(root, recipe) for recipe in there}
    if not any(marked or fits for marked, fits, _ in ranks.values()):
        parts = [recipe for recipe in known if missing[recipe.name]]
        if there:  # one file with such a common name does not identify a host
            parts = [recipe for recipe in parts if len(missing[recipe.name]) < len(recipe.files)]
        others = [row for recipe in reversed(parts) for row in other_files(root, recipe)]
        if others or not there:
            lacking = [(recipe.host, missing[recipe.name]) for recipe in reversed(known) if missing[recipe.name]]
            has = "; ".join(f"no {', no '.join(absent)} ({name})" for name, absent in lacking)
            first = f"{root}: expected the folder of a {names} checkout, but it has {has}"
            raise InstallError("\n".join([first, *others]))
    recipe = max(
        reversed(there), key=lambda recipe: ranks[recipe.name]
    )  # if several hosts fit equally well, the first in `names`
    _refuse_links(root, recipe)
    return root, recipe


def _rank(root: Path, recipe: Recipe) -> tuple[bool, bool, int]:
    """Rank of a host: lines of the plug-in are there, all lines have a place, number of files."""
    real = [patch for patch in recipe.patches if (root / patch.file).is_file()]  # a link may lead nowhere
    plans = [with_lines((root / patch.file).read_bytes(), patch) for patch in real]
    fits = len(plans) == len(recipe.files) and not any(plan.refused for plan in plans)
    return any(plan.marked for plan in plans), fits, len(recipe.files)


def _refuse_links(root: Path, recipe: Recipe) -> None:
    parts = [part for file in recipe.files for part in (Path(file), *Path(file).parents)]
    if recipe.copies:
        copies = sorted((root / FOLDER).glob("*.py"))
        parts += [FOLDER.parent, FOLDER, *(path.relative_to(root) for path in copies)]
    for part in (root / part for part in parts if part != Path()):
        if part.is_symlink():
            raise InstallError(
                f"{part} is a symbolic link to {os.readlink(part)}: expected a real file or folder. "
                "Give the checkout that holds the real one, or replace the link by a copy; nothing was written"
            )


def _chosen(root: Path, recipes: list[Recipe], files: Sequence[str]) -> list[Recipe]:
    """The recipes with their files replaced by those of `--file` (`FILE` or `NAME=FILE`)."""
    found: list[Recipe] = []
    for recipe in recipes:
        pairs = [text.rpartition("=") for text in files]
        chosen = {name or recipe.files[0]: Path(file).as_posix() for name, _, file in pairs}
        if not chosen.keys() <= set(recipe.files):
            continue
        for name, file in chosen.items():
            if (root / file) not in _beside(root, name):  # `status` and `uninstall` would not search there
                folders = " or ".join(dict.fromkeys((str(root), str((root / name).parent))))
                raise InstallError(f"expected --file to name a .py file directly in {folders}, but got {file!r}")
        found.append(_with_files(root, recipe, {name: [file] for name, file in chosen.items()}))
    if not found:
        names = "; ".join(f"{', '.join(recipe.files)} ({recipe.host})" for recipe in recipes)
        raise InstallError(f"expected --file FILE or NAME=FILE with NAME one of {names}, but got {', '.join(files)}")
    return found


def _with_marked_files(root: Path, recipe: Recipe) -> Recipe:
    """The recipe with the files that hold its lines, which `install --file` may have chosen."""
    found: dict[str, list[str]] = {}
    for patch in recipe.patches:
        others = {item.line for other in recipe.patches if other is not patch for item in other.insertions}
        own = {item.line for item in patch.insertions} - others
        found[patch.file] = [
            path.relative_to(root).as_posix()
            for path in _beside(root, patch.file)
            if own & {line.code for line in Source.of(path.read_bytes()).marked()}
        ]
    return _with_files(root, recipe, found)


def _with_files(root: Path, recipe: Recipe, files: dict[str, list[str]]) -> Recipe:
    patches, then = [], recipe.next_command
    for patch in recipe.patches:
        for file in files.get(patch.file) or [patch.file]:
            made_in = patch.made_in
            if made_in and file != patch.file:
                made_in = script_of(root, file, made_in)
                then = then.replace(patch.made_in, made_in)
            patches.append(replace(patch, file=file, made_in=made_in))
    return replace(recipe, patches=tuple(patches), next_command=then)


def other_files(root: Path, recipe: Recipe) -> list[str]:
    """A sentence for each file of the checkout that could replace one of the recipe's, or that has its method."""
    rows = []
    for patch in recipe.patches:
        for path in _beside(root, patch.file):
            file = path.relative_to(root).as_posix()
            if file in recipe.files:
                continue
            fits = "" if with_lines(path.read_bytes(), patch).refused else "fits"
            if not fits and "." in patch.function:
                with suppress(Refusal, SyntaxError):
                    find_function(parse(path.read_bytes()), patch)
                    fits = f"has a `{patch.function}`"
            if fits:
                option = file if patch is recipe.patches[0] else f"{patch.file}={file}"
                rows.append(f"{file} {fits}: to take it in the place of {patch.file}, give install `--file {option}`")
    return rows


def _beside(root: Path, file: str) -> list[Path]:
    """The scripts that could replace a recipe's file: those in the file's folder and at the top of the checkout."""
    folders = dict.fromkeys(((root / file).parent, root))
    return [path for folder in folders for path in sorted(folder.glob("*.py")) if path.is_file()]


def overriding_classes(root: Path, patch: Patch) -> tuple[list[str], bool]:
    """A sentence for each class whose training does not run the lines, and whether the script makes no other class."""
    if not patch.made_in:
        return [], True
    path = root / patch.made_in
    script = _tree(path)
    meanings = _meanings(script)
    holder, _, method = patch.function.partition(".")
    made: dict[tuple[Path, str], str] = {}  # for each class that has the method: what is wrong with it
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
    """The script that uses a file's classes: the usual one, else another one in the checkout, else the file itself."""
    module = file.removesuffix(".py").replace("/", ".")
    for script in (root / usual, *sorted(root.glob("*.py"))):
        if any(f"{found.path}.".startswith(f"{module}.") for found in imports(_tree(script))):
            return script.relative_to(root).as_posix()
    return file


def starting_scripts(root: Path, recipe: Recipe) -> list[str]:
    """The scripts that start the training in the recipe's files (themselves, or the ones that make its class).

    The host's usual script alone if it is among them.
    """
    scripts = []
    for patch in (patch for patch in recipe.patches if patch.function):
        there = not patch.made_in or (root / patch.made_in).is_file()
        scripts += [patch.made_in or patch.file] if there else [script_of(root, patch.file, patch.made_in)]
    usual = {patch.made_in or patch.file for patch in load_recipes()[recipe.name].patches if patch.function}
    return list(dict.fromkeys(script for script in scripts if script in usual or not usual & {*scripts}))


def _tree(path: Path) -> ast.Module:
    """A file's syntax tree; empty if the file cannot be read."""
    try:
        return parse(path.read_bytes())
    except (OSError, SyntaxError):
        return parse(b"")


def _meanings(tree: ast.Module) -> dict[str, str]:
    """The names that a file imports, each with its full name."""
    return {found.name: found.means for found in imports(tree)}


def _origin(root: Path, file: Path, meanings: dict[str, str], name: str) -> tuple[Path, str] | None:
    """File and name of a class that a file uses, if the class is defined in the checkout."""
    full = in_full(name, meanings)
    module, _, in_module = full.rpartition(".")
    path = root / f"{module.replace('.', '/')}.py" if full else file
    return (path, in_module or name) if path.is_file() else None


def _owner(root: Path, origin: tuple[Path, str], method: str) -> tuple[Path, str, ast.FunctionDef] | None:
    """File, class and definition of a method that a class of the checkout has or inherits."""
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
    """True if a method holds the lines, or calls its parent's as `super().train()` or `Trainer.train(self)`.

    A call under a condition does not count.
    """
    hand = by_hand(file.read_bytes(), patch)
    if not hand.problems and any(function.lineno <= line <= (function.end_lineno or 0) for line in hand.lines):
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
