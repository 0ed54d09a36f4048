"""Which host a checkout is of, and whether it can be worked on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vlltr_plugin.install.config_copies import FOLDER
from vlltr_plugin.install.errors import AnchorError, InstallError
from vlltr_plugin.install.other_files import other_files, with_files, with_marked_files
from vlltr_plugin.install.patcher import plan
from vlltr_plugin.install.recipe import Recipe, load_recipes
from vlltr_plugin.install.source import Source

AUTO = "auto"


def open_checkout(path: str | Path, host: str = AUTO, files: Sequence[str] = ()) -> tuple[Path, Recipe]:
    """Finds out what a path is a checkout of, and checks that it can be worked on.

    Raises:
        InstallError: if it is no folder, is no checkout of a known host, or a file or folder to change in it is a
            symbolic link (replacing a link, or writing through it, would change something else than this checkout).
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
    known = _with_other_files(root, known, files)
    there = [recipe for recipe in known if all(_is_there(root / file) for file in recipe.files)]
    if not any(_is_marked(root, recipe) or _would_fit(root, recipe) for recipe in there):
        parts = [recipe for recipe in known if recipe not in there]
        if there:  # then that file alone says nothing: most checkouts have one
            parts = [recipe for recipe in parts if any(_is_there(root / file) for file in recipe.files)]
        others = [row for recipe in reversed(parts) for row in other_files(root, recipe)]
        if others or not there:
            missing = "; ".join(_missing(root, recipe) for recipe in reversed(known) if recipe not in there)
            raise InstallError(
                "\n".join([f"{root}: expected the folder of a {names} checkout, but it has {missing}", *others])
            )
    recipe = max(there, key=lambda recipe: (_is_marked(root, recipe), _would_fit(root, recipe), len(recipe.files)))
    _refuse_links(root, recipe)
    return root, recipe


def _with_other_files(root: Path, recipes: list[Recipe], files: Sequence[str]) -> list[Recipe]:
    if not files:
        return [with_marked_files(root, recipe) for recipe in recipes]
    chosen = [found for recipe in recipes if (found := with_files(root, recipe, files))]
    if not chosen:
        names = "; ".join(f"{', '.join(recipe.files)} ({recipe.host})" for recipe in recipes)
        raise InstallError(f"expected --file FILE or NAME=FILE with NAME one of {names}, but got {', '.join(files)}")
    return chosen


def is_own(root: Path, module: str) -> bool:
    """Whether a top-level module is one of the checkout's own."""
    return (root / f"{module}.py").is_file() or any((root / module).glob("*.py"))


def _is_there(path: Path) -> bool:
    return path.is_file() or path.is_symlink()


def _missing(root: Path, recipe: Recipe) -> str:
    return f"no {', no '.join(file for file in recipe.files if not _is_there(root / file))} ({recipe.host})"


def _is_marked(root: Path, recipe: Recipe) -> bool:
    """Whether a line of the plug-in stands in one of the recipe's files."""
    return any(Source.of((root / file).read_bytes()).marked() for file in recipe.files if (root / file).is_file())


def _would_fit(root: Path, recipe: Recipe) -> bool:
    """Whether all lines have their places."""
    try:
        for patch in recipe.patches:
            plan((root / patch.file).read_bytes(), patch)
    except (AnchorError, OSError):
        return False
    return True


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
