"""The demo's folder: full when the demo is done, as it was when it is not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .standin_checkout import STANDIN, UNFINISHED, refuse_filled

MADE = (*(path.name for path in STANDIN.iterdir()), "data", "checkpoints", "report", "__pycache__", UNFINISHED)
"""What the demo puts at the top of its folder."""


@contextmanager
def demo_folder(folder: Path) -> Iterator[Path]:
    """A new or empty folder for the demo; whatever stops the demo, what it made is taken away again.

    A demo that was killed leaves its mark beside what it made: the next one clears that away first.

    Args:
        folder: where to; is made.

    Yields:
        The folder.

    Raises:
        FileExistsError: it holds something else already.
    """
    if (folder / UNFINISHED).is_file():
        _clear(folder)
    refuse_filled(folder)
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    try:
        yield folder
    except BaseException:  # Ctrl-C too
        _clear(folder)
        if not was_there and not any(folder.iterdir()):
            folder.rmdir()
        raise
    (folder / UNFINISHED).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Takes away what the demo makes; what else lies there stays."""
    for name in MADE:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
