"""The heads to compare with: the plain one, and a real checkout's when VLLTR_CHECKOUT names one."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from .plain_model import PlainBlock, host_block


@pytest.fixture(scope="session")
def real_checkout() -> Path:
    folder = os.environ.get("VLLTR_CHECKOUT")
    if not folder or not (Path(folder) / "main.py").is_file():
        pytest.skip("set VLLTR_CHECKOUT to a clean clone of VL-LTR at e5391f5 to run the real host")
    return Path(folder)


@pytest.fixture(params=["plain", "host"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[nn.Module]]:
    if request.param == "plain":
        yield PlainBlock
        return
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    checkout = request.getfixturevalue("real_checkout")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's old import paths
        yield host_block(checkout)
