"""Changes to the host's own modules, made right after each has been imported."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

__all__ = ["after_import"]

Patch = Callable[[ModuleType], None]


def after_import(name: str, patch: Patch) -> None:
    """Calls `patch` on a top-level module as soon as it has run, at once if it has already.

    Args:
        name: The module's name. Its import hook goes away once it has come.
        patch: Changes the module in place; has to leave a module of another shape, or one that it changed before,
            alone. Given twice it counts once.
    """
    if name in sys.modules:
        patch(sys.modules[name])
        return
    finder = next((found for found in sys.meta_path if isinstance(found, _AfterImport) and found.name == name), None)
    if finder is None:
        finder = _AfterImport(name)
        sys.meta_path.insert(0, finder)
    if patch not in finder.patches:
        finder.patches.append(patch)


class _AfterImport(MetaPathFinder):
    """Finds one top-level module where Python would, and patches it right after it has run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.patches: list[Patch] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        run = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            run(module)
            for patch in self.patches:
                patch(module)

        # On this one loader object only; a loader class of ours would lose what tracebacks and `inspect` ask loaders.
        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign]
        return spec
