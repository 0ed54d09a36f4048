"""The configs copied into a checkout; a stamp in each copy shows whether it was edited."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from vlltr_plugin import __version__
from vlltr_plugin.install.files import Change
from vlltr_plugin.resources import configs_dir

FOLDER = Path("configs") / "class_volume"
UNTOUCHED, EDITED, FOREIGN = "untouched copy", "edited copy", "file of yours"
_STAMP = re.compile(
    rb"# vlltr-plugin (?P<version>\S+) copied this file, (?P<digest>[0-9a-f]{16}); an edited copy is kept\r?\n"
)


def kind(data: bytes) -> str:
    """Classifies a file by its stamp, from any version."""
    match = _STAMP.match(data)
    if match is None:
        return FOREIGN
    return UNTOUCHED if _digest(data[match.end() :]) == match["digest"].decode("ascii") else EDITED


def _digest(text: bytes) -> str:
    """Digest of a text, independent of line endings, which git may change."""
    return hashlib.sha256(text.replace(b"\r\n", b"\n")).hexdigest()[:16]


def supplied() -> dict[str, bytes]:
    """The configs of this version by file name, as copied: the first line is a comment with version and digest."""
    texts = {path.name: path.read_bytes() for path in sorted(configs_dir().glob("*.py"))}
    stamp = f"# vlltr-plugin {__version__} copied this file, {{}}; an edited copy is kept\n"
    return {name: stamp.format(_digest(text)).encode("ascii") + text for name, text in texts.items()}


def present(checkout: Path) -> dict[str, bytes]:
    """The copied configs in a checkout, by file name."""
    return {path.name: path.read_bytes() for path in sorted((checkout / FOLDER).glob("*.py")) if path.is_file()}


def copies(checkout: Path, installing: bool) -> tuple[list[Change], list[str]]:
    """The changes to the config folder when installing or uninstalling, and notes on files that are kept."""
    wanted, found = supplied() if installing else {}, present(checkout)
    changes: list[Change] = []
    notes: list[str] = []
    for name in sorted(wanted.keys() | found.keys()):
        old, new = found.get(name), wanted.get(name)
        if old is None or kind(old) == UNTOUCHED:
            changes += [Change(checkout / FOLDER / name, old, new)] if old != new else []
        elif new is not None:
            notes.append(f"kept {FOLDER / name}: {kind(old)}, not replaced by this version's")
        elif not installing:
            notes.append(f"kept {FOLDER / name}: {kind(old)}")
    return changes, notes


def differences(checkout: Path) -> list[str]:
    """Lists copies that are edited, missing or from another version."""
    wanted, found = supplied(), present(checkout)
    rows = [f"{FOLDER / name}: missing" for name in wanted if name not in found]
    for name, data in found.items():
        if data != wanted.get(name) and (name in wanted or kind(data) != FOREIGN):
            whose = "copy of another version" if kind(data) == UNTOUCHED else kind(data)
            rows.append(f"{FOLDER / name}: {whose}")
    return rows
