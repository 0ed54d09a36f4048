"""Checkouts made from the miniature training scripts."""

import pytest
from faults.runs import Nursery
from install.small_hosts import HOST, LIFT_CONFIG, LIFT_TRAINER, write_files


@pytest.fixture
def make_checkout(tmp_path):
    """Writes a checkout with the given main.py and one config of its own."""

    def make(main=HOST, name="checkout"):
        return write_files(tmp_path / name, {"main.py": main, "configs/own/run.py": "data = dict()\n"})

    return make


@pytest.fixture
def make_lift(tmp_path):
    """Writes a checkout with LIFT's shape."""

    def make(trainer=LIFT_TRAINER, config=LIFT_CONFIG, name="lift"):
        files = {"main.py": "def main(args):\n    pass\n", "trainer.py": trainer, "utils/config.py": config}
        return write_files(tmp_path / name, files)

    return make


@pytest.fixture(autouse=True)
def supplied_configs(tmp_path_factory, monkeypatch):
    """Two small configs in place of the supplied ones, so that the tests do not depend on those."""
    texts = {f"{name}.py": f"_base_ = ['../own/run.py']\nreweight = dict(type='{name}')\n" for name in ("one", "two")}
    folder = write_files(tmp_path_factory.mktemp("supplied"), texts)
    monkeypatch.setattr("vlltr_plugin.install.config_copies.configs_dir", lambda: folder)
    return folder


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Forks processes that may be killed."""
    return Nursery(tmp_path_factory.mktemp("nursery"), for_hosts=False)
