"""Each test begins without the stand-ins of another."""

import sys

import pytest

from vlltr_plugin.compat import stand_ins


@pytest.fixture(autouse=True)
def without_stand_ins(monkeypatch):
    kept = [finder for finder in sys.meta_path if not isinstance(finder, stand_ins._StandIns)]
    monkeypatch.setattr(sys, "meta_path", kept)
