"""Files that appear whole or not at all."""

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes or replaces a file in one step; makes its folder.

    Args:
        path: the file.
        data: its content.

    Raises:
        OSError: when it cannot be written; an older file of that name is as it was, and nothing partial is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")  # one name: what a killed process left is written over
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
        raise
