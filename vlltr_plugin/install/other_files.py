"""Files of a checkout that take the place of those that a recipe names: `FILE`, or `NAME=FILE`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vlltr_plugin.install.errors import AnchorError, InstallError
from vlltr_plugin.install.locate import has_function
from vlltr_plugin.install.made import script_of
from vlltr_plugin.install.patcher import plan
from vlltr_plugin.install.recipe import Patch, Recipe
from vlltr_plugin.install.source import Source


def with_files(root: Path, recipe: Recipe, files: Sequence[str]) -> Recipe | None:
    """The recipe with other files in the places of its own.

    Raises:
        InstallError: when a file is not where `status` and `uninstall` look for it.
    """
    chosen: dict[str, str] = {}
    for text in files:
        name, _, file = text.rpartition("=")
        chosen[name or recipe.files[0]] = Path(file).as_posix()
    if not chosen.keys() <= set(recipe.files):
        return None
    for name, file in chosen.items():
        if (root / file) not in _beside(root, name):
            folders = " or ".join(dict.fromkeys((str(root), str((root / name).parent))))
            raise InstallError(f"expected --file to name a .py file directly in {folders}, but got {file!r}")
    return _with(root, recipe, {name: [file] for name, file in chosen.items()})


def with_marked_files(root: Path, recipe: Recipe) -> Recipe:
    """The recipe with the files that hold its lines, wherever `install --file` has put them."""
    found: dict[str, list[str]] = {}
    for patch in recipe.patches:
        others = {item.line for other in recipe.patches if other is not patch for item in other.insertions}
        own = {item.line for item in patch.insertions} - others
        found[patch.file] = [
            path.relative_to(root).as_posix()
            for path in _beside(root, patch.file)
            if own & {line.code for line in Source.of(path.read_bytes()).marked()}
        ]
    return _with(root, recipe, found)


def other_files(root: Path, recipe: Recipe) -> list[str]:
    """A sentence for each file of the recipe that other files of the checkout may take the place of."""
    rows = []
    for patch in recipe.patches:
        for path in _beside(root, patch.file):
            file = path.relative_to(root).as_posix()
            if file in recipe.files or not (fits := _fit(path, patch)):
                continue
            option = file if patch is recipe.patches[0] else f"{patch.file}={file}"
            rows.append(f"{file} {fits}: to take it in the place of {patch.file}, give install `--file {option}`")
    return rows


def _with(root: Path, recipe: Recipe, files: dict[str, list[str]]) -> Recipe:
    patches, then = [], recipe.next_command
    for patch in recipe.patches:
        for file in files.get(patch.file) or [patch.file]:
            made_in = patch.made_in
            if made_in and file != patch.file:
                made_in = script_of(root, file, made_in)
                then = then.replace(patch.made_in, made_in)
            patches.append(replace(patch, file=file, made_in=made_in))
    return replace(recipe, patches=tuple(patches), next_command=then)


def _beside(root: Path, file: str) -> list[Path]:
    """Where a file of a recipe is looked for under other names: in its folder, and in that of the checkout."""
    return list(dict.fromkeys(path for folder in ((root / file).parent, root) for path in _scripts(folder)))


def _scripts(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.glob("*.py") if path.is_file())


def _fit(path: Path, patch: Patch) -> str:
    """What speaks for a file: its places fit, or it has the method that trains; empty if nothing does."""
    data = path.read_bytes()
    try:
        plan(data, patch)
    except AnchorError:
        return f"has a `{patch.function}`" if "." in patch.function and has_function(data, patch) else ""
    return "fits"
