"""Runs a host's code without changing its checkout or any other file, unpickling unsafe objects or joining processes.

The command creates the side folder in which the host's process runs; that process calls `restrict`.
"""

import io
import os
import pickle
import shutil
import sys
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

# Environment variables with folders, besides ~/.cache, whose files libraries replace as they like.
CACHES = ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR")
NOT_FILES = ("/dev", "/proc", "/sys")

_mkdir = os.mkdir
_save = torch.save
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


def restrict(side: Path, safe_pickle: bool) -> Callable[[], None]:
    """Restricts this process permanently.

    Files and folders that the host creates in the checkout are created in the side folder instead, and a file of the
    checkout that it opens for writing is replaced there by a copy. Elsewhere a file that was there before, unless it
    is a cache, cannot be overwritten, moved or removed (PermissionError). With `safe_pickle`, `pickle.load` builds
    tensors and plain values only; a host may use pickle for a cache.

    Returns a function that ends the protection of files elsewhere: the host's program has reached `attach`.
    """
    files = _Files(side)

    def mkdir(path: Any, *args: Any, **options: Any) -> None:
        absolute = Path(os.path.abspath(path)) if isinstance(path, str | Path) else None
        if absolute is not None and absolute.is_relative_to(side):
            return _make(side, absolute.relative_to(side))
        _mkdir(path, *args, **options)
        if absolute is not None:
            _made.append(absolute)
            files.created.add(os.path.realpath(absolute))

    def save(obj: Any, f: Any, *args: Any, **options: Any) -> None:
        if isinstance(f, str | os.PathLike):  # opened by torch's C++ code, without an audit event
            files.will_open(f, os.O_CREAT | os.O_TRUNC)
        _save(obj, f, *args, **options)

    warnings.simplefilter("ignore")  # warnings of the host's libraries, which the host hides, too
    os.mkdir, torch.save = mkdir, save
    sys.addaudithook(files.audit)
    if safe_pickle:
        import multiprocessing.reduction  # noqa: F401  (keeps the original functions, for the workers of a DataLoader)

        pickle.load = _load_safely
        pickle.loads = lambda data, /, **options: _SafeUnpickler(io.BytesIO(data), **options).load()
    return files.release


def remove_empty_folders() -> None:
    """Removes folders, such as an output folder, that the host created elsewhere and left empty."""
    for folder in reversed(_made):
        with suppress(OSError):
            folder.rmdir()


class _Files:
    """Keeps files that were there before this process began."""

    def __init__(self, side: Path) -> None:
        self._side, self._protects = side, True
        self.created: set[str] = set()  # files and folders that this process created outside the side folder
        caches = (os.environ.get(name) for name in CACHES)
        self._others = [
            *NOT_FILES,
            *(os.path.realpath(name) for name in (os.path.expanduser("~/.cache"), *caches) if name),
        ]

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python calls this before it opens, moves or removes a file (PEP 578); an error keeps it from doing so."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int):
                self.will_open(path, flags)
        elif event == "os.truncate" and not isinstance(arguments[0], int):
            self.will_open(arguments[0], os.O_TRUNC)
        elif event == "os.remove":
            self._will_move(*arguments)
        elif event == "os.rename":
            source, target, from_folder, to_folder = arguments
            self._will_move(source, from_folder)
            self._will_move(target, to_folder)

    def release(self) -> None:
        """Ends the protection of files outside the side folder."""
        self._protects = False

    def will_open(self, name: Any, flags: int) -> None:
        """Call before a file is opened."""
        if not flags & (os.O_CREAT | os.O_TRUNC | os.O_APPEND):  # to read, or to map into memory
            return
        path = Path(os.path.abspath(os.fsdecode(name)))
        if self._inside(path):
            if path.is_symlink() and not path.is_dir():
                source = path.resolve()
                path.unlink()
                if source.is_file() and not flags & os.O_TRUNC:
                    shutil.copyfile(source, path)
            return
        real = os.path.realpath(path)
        if not os.path.exists(real):
            self.created.add(real)
        elif flags & (os.O_TRUNC | os.O_APPEND) and os.path.getsize(real):  # an empty file may be a lock
            self._refuse(real)

    def _will_move(self, name: Any, folder: int) -> None:
        try:
            parent = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else ""
        except OSError:  # no Linux
            return
        path = Path(os.path.abspath(os.path.join(parent, os.fsdecode(name))))
        if self._inside(path):
            return
        real = os.path.join(os.path.realpath(path.parent), path.name)
        if os.path.lexists(real):
            self._refuse(real)
        else:
            self.created.add(real)

    def _inside(self, path: Path) -> bool:
        """True for a path in the side folder; its parents are no links then."""
        inside = path != self._side and path.is_relative_to(self._side)
        if inside:
            _replace_links(self._side, path.parent)
        return inside

    def _refuse(self, real: str) -> None:
        parts = {real, *map(str, Path(real).parents)}
        if not self._protects or parts & self.created or parts & {*self._others, str(self._side)}:
            return
        raise PermissionError(
            f"Expected the host's program to change no file, since nothing is trained, but it would change {real}: "
            "run `vlltr-plugin status` to see whether it calls the plug-in's `attach`, or give another output folder."
        )


def _make(side: Path, folder: str | Path) -> None:
    """Creates a folder and its parents in the side folder."""
    _replace_links(side, side / folder)
    for part in (side / folder, *(side / folder).parents)[::-1]:
        if not part.exists():
            _mkdir(part)


def _replace_links(side: Path, folder: Path) -> None:
    """Replaces each link on the way to a folder in the side folder by a folder of links."""
    for part in (folder, *folder.parents)[::-1]:
        if part.is_symlink() and part.is_dir() and part.is_relative_to(side):
            source = part.resolve()
            part.unlink()
            _mkdir(part)
            _link_entries(source, part)


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
