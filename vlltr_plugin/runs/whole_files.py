"""Files that appear whole or not at all, and their digests."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes or replaces a file in one step; makes its folder.

    Raises:
        OSError: when it cannot be written; an older file of that name is as it was, and nothing partial is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, path.with_name(f".{path.name}.tmp")) as unfinished:
        unfinished.write_bytes(data)


@contextlib.contextmanager
def whole_file(path: Path, unfinished: Path) -> Iterator[Path]:
    """For content that streams to a file: it takes its name once it is complete and on the disk.

    Raises:
        OSError: when it cannot be written; as for any error in the block, an older file is as it was, and nothing
            partial is left.
    """
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
