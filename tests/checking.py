"""Calls `vlltr-plugin check` in this process, and sees to it that nothing is written."""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

from vlltr_plugin.cli import main

Found = dict[str, tuple[str, str]]


def check(checkout: Path, *arguments: str, code: int) -> Found:
    """Status and message by check; the exit code is as expected, and no file in the checkout has changed."""
    before = snapshot(checkout)
    printed = io.StringIO()
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False  # as usual, whatever the tests' environment
    try:
        with contextlib.redirect_stdout(printed):
            found = main(["check", "--checkout", str(checkout), "--device=cpu", "--json", *arguments])
    finally:
        sys.dont_write_bytecode = bytecode
    assert snapshot(checkout) == before
    assert found == code, printed.getvalue()
    if code == 2:
        return {}
    lines = json.loads(printed.getvalue())["lines"]
    assert len({line["check"] for line in lines}) == len(lines)
    return {line["check"]: (line["status"], line["message"]) for line in lines}


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file, folder and link, with size, time of change and inode; of links to folders what is behind them."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        whole = [path, *path.rglob("*")] if path.is_symlink() and path.is_dir() else [path]
        for entry in whole:
            stat = entry.lstat()
            found[str(entry)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A function that replaces text in a file of a checkout."""

    def edit(checkout: Path) -> None:
        text = (checkout / name).read_text()
        assert old in text
        (checkout / name).write_text(text.replace(old, new))

    return edit


def only(found: Found, check: str) -> str:
    """The message of the one line that failed."""
    assert with_status(found, "FAIL") == [check], found
    return found[check][1]


def with_status(found: Found, wanted: str) -> list[str]:
    return [name for name, (status, _) in found.items() if status == wanted]
