"""The versions of other libraries that the suite ran with (`tests/versions.sh`), and a word on any others."""

import re
from importlib.metadata import PackageNotFoundError, version

TRIED = {
    "torch": ("2.4.1", "2.15.0"),
    "torchvision": ("0.19.1", "0.29.2"),
    "timm": ("1.0.3", "1.0.31"),
    "open_clip_torch": ("2.24.0", "3.3.0"),
    "numpy": ("1.26.4", "2.5.5"),
}
"""The oldest and the newest of each."""


def untried() -> str:
    """One sentence that names the installed versions outside the tried range; empty where there are none."""
    outside = []
    for name, (oldest, newest) in TRIED.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if not _release(oldest) <= _release(installed) <= _release(newest):
            outside.append(f"{name} {installed} (tried: {oldest} to {newest})")
    return f"not tried with {', '.join(outside)}: look twice at the first epochs." if outside else ""


def _release(text: str) -> tuple[int, ...]:
    """The numbers of a version, without what stands behind them (`2.13.0+cpu`, `2.6.0rc1`)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
