"""Finds the folders `patches` and `configs`, in a source tree and in an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """`patches` or `configs`, in the package (a wheel) or beside it (a source tree, an editable install)."""
    inside, beside = _PACKAGE / name, _PACKAGE.parent / name
    for folder in (inside, beside):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"Expected the plug-in's folder `{name}` at {inside} or {beside}, but neither exists: "
        "install vlltr-plugin again"
    )


def patches_dir() -> Path:
    """Folder with the descriptions of the inserted lines."""
    return resource_dir("patches")


def configs_dir() -> Path:
    """Folder with the supplied run configs."""
    return resource_dir("configs")
