"""Importing the modules of a checkout, as its own `python main.py` would."""

import importlib
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

import vlltr_plugin.compat
from vlltr_plugin.errors import ReportError

NAMES = ("main", "utils", "datasets", "models")


@contextmanager
def checkout_modules(checkout: Path, current: Path | None = None) -> Iterator[dict[str, ModuleType]]:
    """Runs in a checkout: its folder is the current one and comes first in `sys.path`.

    Afterwards folder, path and the table of modules are as they were. No byte code is written into the checkout.

    Raises:
        FileNotFoundError: a file of theirs is missing.
        ReportError: importing them fails, or a module of the same name from elsewhere stands in the way.
    """
    checkout = checkout.resolve()
    _require_files(checkout)
    vlltr_plugin.compat.apply()  # once more: its import hooks serve one import each
    before, folder, no_bytecode = set(sys.modules), Path.cwd(), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    os.chdir(current or checkout)
    sys.path.insert(0, str(checkout))
    try:
        with said_by_host("importing its modules"):
            modules = {name: importlib.import_module(name) for name in NAMES}
        for name, module in modules.items():
            _require_inside(checkout, name, module)
        yield modules
    finally:
        os.chdir(folder)
        sys.dont_write_bytecode = no_bytecode
        sys.path.remove(str(checkout))
        for name in set(sys.modules) - before:
            if _is_inside(checkout, sys.modules[name]):
                del sys.modules[name]


@contextmanager
def said_by_host(doing: str) -> Iterator[None]:
    """Keeps the host's prints back, and turns whatever its code raises into one line.

    Raises:
        ReportError: in place of any other error but OSError, which names its file.
    """
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    except (ReportError, OSError):
        raise
    except Exception as error:  # the host's code may raise anything
        reason = " ".join(str(error).split())[:300] or _place(error)
        last = said.getvalue().strip().rpartition("\n")[2][:120]
        raise ReportError(
            f"The host's code failed while {doing}: {type(error).__name__}: {reason}"
            + (f" (it last said: {last})" if last else "")
        ) from error


def _place(error: Exception) -> str:
    """Where a bare `assert`, say, stands."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"


def _require_files(checkout: Path) -> None:
    for name in NAMES:
        if not (checkout / f"{name}.py").is_file() and not (checkout / name / "__init__.py").is_file():
            raise FileNotFoundError(
                f"Expected the folder of a VL-LTR checkout but {checkout} has no {name}.py: run the command in the "
                "checkout, or give --checkout."
            )


def _require_inside(checkout: Path, name: str, module: ModuleType) -> None:
    if not _is_inside(checkout, module):
        raise ReportError(f"Expected the module `{name}` of {checkout} but Python gave {module.__file__}.")


def _is_inside(checkout: Path, module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(checkout)
