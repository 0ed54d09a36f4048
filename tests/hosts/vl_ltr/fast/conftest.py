"""The heads to compare with: the plain one, and a real checkout's when VLLTR_CHECKOUT names one."""

import sys
import warnings
from collections.abc import Iterator

import pytest
from real_host.layout import checkout_of_environment
from torch import nn

from .plain_model import PlainBlock, host_block


@pytest.fixture(params=["plain", "host"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[nn.Module]]:
    if request.param == "plain":
        yield PlainBlock
        return
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    checkout = checkout_of_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's old import paths
        yield host_block(checkout)
