"""A version that was never tried gets one line, not an error."""

import pytest

from vlltr_plugin.training import tried_versions
from vlltr_plugin.training.tried_versions import TRIED, untried


def installed(monkeypatch, **versions):
    known = {name: newest for name, (_, newest) in TRIED.items()} | versions
    monkeypatch.setattr(tried_versions, "version", known.__getitem__)


@pytest.mark.parametrize("torch", ["2.4.1", "2.4.1+cu121", "2.13.0+cpu", "2.15.0", "2.10.0rc1"])
def test_what_was_tried_needs_no_word(monkeypatch, torch):
    installed(monkeypatch, torch=torch)
    assert untried() == ""


@pytest.mark.parametrize("torch", ["2.4.0", "1.13.1", "2.15.1", "2.16.0.dev20270101", "3.0", "10.0"])
def test_what_was_not_is_named_with_the_range(monkeypatch, torch):
    installed(monkeypatch, torch=torch, numpy="1.25.0")
    assert untried().startswith(f"not tried with torch {torch} (tried: 2.4.1 to 2.15.0), numpy 1.25.0 (tried")


def test_a_run_is_told_once(mini_host, monkeypatch, capsys):
    installed(monkeypatch, torch="3.0")
    mini_host({"type": "inverse"}).attach()
    mini_host().attach()  # not re-weighted: nothing of ours is tried
    assert capsys.readouterr().out.count("not tried with torch 3.0") == 1
