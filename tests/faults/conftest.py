"""A place that forks runs, and a stand-in checkout with the plug-in installed."""

import pytest
from faults.runs import Nursery, StandIn

from vlltr_plugin.demo import make_standin
from vlltr_plugin.install import install


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@pytest.fixture(scope="session")
def standin(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    checkout = make_standin(tmp_path_factory.mktemp("faults") / "standin")
    install(checkout)
    return StandIn(nursery, checkout)
