"""Fixtures: copies of a real VL-LTR checkout with small data in place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .layout import checkout_of_environment, insert_compat_import, prepare_checkout, write_data


@pytest.fixture(scope="session")
def clean_checkout() -> Path:
    return checkout_of_environment()


@pytest.fixture(scope="session")
def host_data(clean_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data for all three data sets, written once."""
    return write_data(tmp_path_factory.mktemp("host_data") / "root")


@pytest.fixture(scope="session")
def copy_checkout(clean_checkout: Path, host_data: Path) -> Callable[[Path], Path]:
    """Copies the clean checkout to a path and links the data into it; for fixtures of wider scope."""
    return lambda target: prepare_checkout(clean_checkout, target, host_data)


@pytest.fixture
def checkout(copy_checkout: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A fresh copy with data in which `git status` is clean and nothing is installed."""
    return copy_checkout(tmp_path / "VL-LTR")


@pytest.fixture
def compat_checkout(checkout: Path) -> Path:
    """A fresh copy with data whose main.py imports vlltr_plugin.compat, and nothing else of the plug-in."""
    insert_compat_import(checkout)
    return checkout
