"""Copies of the stand-ins for LIFT and for timm's train.py; VL-LTR's comes from the demo."""

import shutil
from pathlib import Path

from vlltr_plugin.install import install


def standin(host: str) -> Path:
    """The stand-in itself, not to be written to."""
    return Path(__file__).parent / host / "standin"


def copy_of(root: Path, target: Path) -> Path:
    return Path(shutil.copytree(root, target, ignore=shutil.ignore_patterns("__pycache__")))


def installed(host: str, target: Path) -> Path:
    root = copy_of(standin(host), target)
    install(root)
    return root
