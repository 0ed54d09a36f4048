"""Running the host's code so that it writes nothing, unpickles nothing harmful, and joins no other process."""

import io
import os
import pickle
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._utils import _rebuild_tensor_v2

WRITTEN = ("cached",)
"""Folders of the checkout into which the host writes while it builds its data sets."""

OUTSIDE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
"""Variables that would make the host join other processes, or torch load unsafely."""


@contextmanager
def sandbox(checkout: Path) -> Iterator[Path]:
    """Runs the host's code without lasting writes, unsafe unpickling or other processes."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of the host's libraries; the host hides them too
        stack.enter_context(_environment())
        stack.enter_context(_safe_pickle())
        yield stack.enter_context(_side_folder(checkout))


@contextmanager
def _side_folder(checkout: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-check-") as name:
        side = Path(name)
        _link_entries(checkout, side, leave_out=WRITTEN)
        for folder in WRITTEN:
            (side / folder).mkdir()
            if (checkout / folder).is_dir():
                _link_entries(checkout / folder, side / folder)
        yield side


def _link_entries(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> None:
    for entry in source.iterdir():
        if entry.name not in leave_out:
            (target / entry.name).symlink_to(entry.resolve())


@contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in OUTSIDE if name in os.environ}
    forced = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        os.environ.update(before | ({} if forced is None else {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": forced}))


@contextmanager
def _safe_pickle() -> Iterator[None]:
    """A host may read a cache by `pickle.load`: for a while that builds tensors and plain values only."""
    load, loads = pickle.load, pickle.loads

    def loads_safely(data: Any, /, **options: Any) -> Any:
        return _SafeUnpickler(io.BytesIO(data), **options).load()

    def load_safely(file: Any, **options: Any) -> Any:
        try:
            return _SafeUnpickler(file, **options).load()
        except (pickle.UnpicklingError, EOFError) as error:
            raise pickle.UnpicklingError(f"{getattr(file, 'name', 'a file')}: {error}") from error

    pickle.load, pickle.loads = load_safely, loads_safely
    try:
        yield
    finally:
        pickle.load, pickle.loads = load, loads


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _SAFE[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which could run code; remove the file if you did not make it yourself"
            ) from None


def _storage_from(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


_SAFE: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _storage_from,
}
