"""Checkouts made from the miniature training scripts."""

from __future__ import annotations

import pytest
from faults.runs import Nursery
from install.small_hosts import HOST, LIFT_CONFIG, LIFT_TRAINER


@pytest.fixture(scope="session")
def host():
    return HOST


@pytest.fixture
def make_checkout(tmp_path):
    """Writes a checkout with the given main.py and one config of its own."""

    def make(main=HOST, name="checkout"):
        root = tmp_path / name
        (root / "configs" / "own").mkdir(parents=True)
        (root / "configs" / "own" / "run.py").write_text("data = dict()\n")
        (root / "main.py").write_bytes(main if isinstance(main, bytes) else main.encode())
        return root

    return make


@pytest.fixture(autouse=True)
def supplied_configs(tmp_path_factory, monkeypatch):
    """Two small configs in place of the supplied ones, so that the tests do not depend on those."""
    folder = tmp_path_factory.mktemp("supplied")
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(f"_base_ = ['../own/run.py']\nreweight = dict(type='{name}')\n")
    monkeypatch.setattr("vlltr_plugin.install.config_copies.configs_dir", lambda: folder)
    return folder


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Forks processes that may be killed."""
    return Nursery(tmp_path_factory.mktemp("nursery"), for_hosts=False)


@pytest.fixture
def make_lift(tmp_path):
    """Writes a checkout with LIFT's shape."""

    def make(trainer=LIFT_TRAINER, config=LIFT_CONFIG, name="lift"):
        root = tmp_path / name
        (root / "utils").mkdir(parents=True)
        (root / "main.py").write_text("def main(args):\n    pass\n")
        (root / "trainer.py").write_text(trainer)
        (root / "utils" / "config.py").write_text(config)
        return root

    return make
