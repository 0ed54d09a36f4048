"""Runs a host's code so that it writes nothing into its checkout, unpickles nothing harmful and joins no other process.

The command makes the side folder, in which the host's process runs; that process calls `restrict`.
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

OUTSIDE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
"""Variables that would make the host join other processes, or torch load unsafely."""

_mkdir = os.mkdir
_made: list[Path] = []
"""Folders that the host made outside of the side folder."""


def safe_environment() -> dict[str, str]:
    """The variables for the host's process."""
    variables = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    return variables | {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def side_folder(checkout: Path, written: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder of links to what is in the checkout; `written` names folders in which the host makes files."""
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-side-") as name:
        side = Path(name).resolve()
        _link_entries(checkout, side)
        for folder in written:
            _make(side, folder)
        yield side


def restrict(side: Path, safe_pickle: bool) -> None:
    """Restricts this process for good.

    Folders that the host makes in the checkout are made in the side folder. With `safe_pickle`, `pickle.load` builds
    tensors and plain values only: a host may keep a cache that way.
    """

    def mkdir(path: Any, *args: Any, **options: Any) -> None:
        absolute = Path(os.path.abspath(path)) if isinstance(path, str | Path) else None
        if absolute is not None and absolute.is_relative_to(side):
            return _make(side, absolute.relative_to(side))
        _mkdir(path, *args, **options)
        if absolute is not None:
            _made.append(absolute)

    warnings.simplefilter("ignore")  # of the host's libraries; the host hides them too
    os.mkdir = mkdir
    if safe_pickle:
        import multiprocessing.reduction  # noqa: F401  (keeps the plain functions, for the workers of a DataLoader)

        pickle.load = _load_safely
        pickle.loads = lambda data, /, **options: _SafeUnpickler(io.BytesIO(data), **options).load()


def remove_empty_folders() -> None:
    """Removes folders that the host made elsewhere, such as an output folder, and left empty."""
    for folder in reversed(_made):
        with suppress(OSError):
            folder.rmdir()


def _make(side: Path, folder: str | Path) -> None:
    """Makes a folder and those above it in the side folder; in the place of a link a folder of links."""
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
