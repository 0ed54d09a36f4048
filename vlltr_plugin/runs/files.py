"""Atomic file writes, file digests, and JSON lines, one of which a killed run may have cut off."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

ZERO = "\0"
_DECODER = json.JSONDecoder()
_WORDS = ("true", "false", "null", "NaN", "-Infinity", "Infinity")
_EXPONENTS = {".", "e", "E", "e-", "E-", "e+", "E+"}
# What may remain of a JSON value that is cut inside a number or a word.
_BEGINNINGS = {word[:length] for word in _WORDS for length in range(len(word))} | _EXPONENTS
# Possible beginnings of the text after a cut: first the host's own lines, then any object or comment.
_NEXT_STARTS = (re.compile(r'\{"(?:train_|test_|val_|epoch")|#'), re.compile(r"[{#]"))


def write_whole(path: Path, data: bytes) -> None:
    """Writes or replaces a file in one step and creates its folder; an OSError leaves everything as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, path.with_name(f".{path.name}.tmp")) as unfinished:
        unfinished.write_bytes(data)


@contextlib.contextmanager
def whole_file(path: Path, unfinished: Path) -> Iterator[Path]:
    """Context manager: yields a temporary file, renamed to `path` when it is on the disk and removed after an error."""
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def printable(name: str) -> str:
    r"""The name with non-UTF-8 bytes written as `\udcff`, so that any file and picture can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()


def sha256(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def whole_objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """The JSON objects of a line, and whether one is cut off; ValueError for anything else but a comment."""
    found: list[dict[str, Any]] = []
    cut, start = False, 0
    while True:
        while start < len(text) and (text[start].isspace() or text[start] == ZERO):
            cut = cut or text[start] == ZERO
            start += 1
        if start == len(text) or text[start] == "#":
            return found, cut
        if text[start] != "{":
            rest = text[start:]
            raise ValueError(f"expected a JSON object, but got {rest if len(rest) <= 40 else f'{rest[:37]}...'!r}")
        try:
            value, start = _DECODER.raw_decode(text, start)
            found.append(value)
        except json.JSONDecodeError as error:
            # The next object or comment begins where the text before it is the beginning of an object.
            ends = (match.start() for pattern in _NEXT_STARTS for match in pattern.finditer(text, start + 1))
            after = next((end for end in chain(ends, [len(text)]) if is_cut(text[start:end])), None)
            if after is None:
                raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
            start, cut = after, True
        except RecursionError as error:
            raise ValueError("JSON nested too deeply") from error


def is_cut(fragment: str) -> bool:
    """True if a fragment that starts with a brace is an incomplete JSON object."""
    fragment = fragment.rstrip(ZERO)
    try:
        _DECODER.raw_decode(fragment)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string") or fragment[error.pos :].strip() in _BEGINNINGS
    return False


def class_summary(numbers: Sequence[int | str]) -> str:
    """Shortens one number per class to the smallest, the largest, and a digest of all in order."""
    digest = hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:8]
    return f"{min(numbers, key=float)} to {max(numbers, key=float)} (digest {digest})"
