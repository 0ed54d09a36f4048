"""One thread a process: the tests run beside each other; torchvision's imports made possible once; the small host."""

import os

import pytest
import torch
from mini_host import MiniHost

from vlltr_plugin.compat.runtime import declare_missing_ops

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
declare_missing_ops()


@pytest.fixture
def mini_host() -> type[MiniHost]:
    """The miniature host."""
    return MiniHost


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of hosts (`vlltr_plugin.hosts.door`) are forks of this one: they start in no time."""
    from forked_host import use_fork

    use_fork(monkeypatch)
