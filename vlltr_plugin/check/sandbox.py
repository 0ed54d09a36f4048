"""Runs a host's code without writing to its checkout, unpickling unsafe objects or joining other processes.

The command creates the side folder in which the host's process runs; that process calls `restrict`.
"""

import io
import os
import pickle
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch._utils import _rebuild_tensor_v2

# Environment variables that make the host join other processes, or torch load unsafely.
OUTSIDE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")

_mkdir = os.mkdir
_made: list[Path] = []  # folders that the host created outside the side folder


def safe_environment() -> dict[str, str]:
    """The environment variables of the host's process."""
    variables = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    return variables | {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def side_folder(checkout: Path, written: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder of links to the checkout's entries; `written` names folders in which the host writes files."""
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-side-") as name:
        side = Path(name).resolve()
        _link_entries(checkout, side)
        for folder in written:
            _make(side, folder)
        yield side


def restrict(side: Path, safe_pickle: bool) -> None:
    """Restricts this process permanently.

    Folders that the host creates in the checkout are created in the side folder instead. With `safe_pickle`,
    `pickle.load` builds tensors and plain values only; a host may use pickle for a cache.
    """

    def mkdir(path: Any, *args: Any, **options: Any) -> None:
        absolute = Path(os.path.abspath(path)) if isinstance(path, str | Path) else None
        if absolute is not None and absolute.is_relative_to(side):
            return _make(side, absolute.relative_to(side))
        _mkdir(path, *args, **options)
        if absolute is not None:
            _made.append(absolute)

    warnings.simplefilter("ignore")  # warnings of the host's libraries, which the host hides, too
    os.mkdir = mkdir
    if safe_pickle:
        import multiprocessing.reduction  # noqa: F401  (keeps the original functions, for the workers of a DataLoader)

        pickle.load = _load_safely
        pickle.loads = lambda data, /, **options: _SafeUnpickler(io.BytesIO(data), **options).load()


def remove_empty_folders() -> None:
    """Removes folders, such as an output folder, that the host created elsewhere and left empty."""
    for folder in reversed(_made):
        with suppress(OSError):
            folder.rmdir()


def _make(side: Path, folder: str | Path) -> None:
    """Creates a folder and its parents in the side folder; replaces a link by a folder of links."""
    for part in (side / folder, *(side / folder).parents)[::-1]:
        if part.is_symlink() and part.is_dir() and part.is_relative_to(side):
            source = part.resolve()
            part.unlink()
            _mkdir(part)
            _link_entries(source, part)
        elif not part.exists():
            _mkdir(part)


def _link_entries(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry.resolve())


def _load_safely(file: Any, **options: Any) -> Any:
    try:
        return _SafeUnpickler(file, **options).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise pickle.UnpicklingError(f"{getattr(file, 'name', 'a file')}: {error}") from error


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which could run code; remove the file if you did not make it yourself"
            )
        return _SAFE[module, name]


_SAFE: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): lambda data: torch.load(io.BytesIO(data), weights_only=True),
}
