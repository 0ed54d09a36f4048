"""The miniature host as a fixture."""

import pytest
from mini_host import MiniHost


@pytest.fixture
def mini_host() -> type[MiniHost]:
    return MiniHost
