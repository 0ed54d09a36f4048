"""Safe loading, numpy's bool, the launcher's dash, and importing everything twice."""

import argparse
import importlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vlltr_plugin.compat
from vlltr_plugin.compat.runtime import (
    accept_dashed_local_rank,
    load_safely_by_default,
    supply_numpy_bool,
    trust_argparse_namespace,
)


class Arbitrary:
    """Not a type that checkpoints may hold."""


def test_a_namespace_loads_safely_and_nothing_else_is_let_in(tmp_path: Path) -> None:
    trust_argparse_namespace()
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "good.pth")
    torch.save({"args": Arbitrary()}, tmp_path / "bad.pth")
    assert torch.load(tmp_path / "good.pth", weights_only=True)["args"].lr == 0.1
    with pytest.raises(Exception, match="Arbitrary"):
        torch.load(tmp_path / "bad.pth")


@pytest.mark.parametrize("version", ["2.4.1", "2.5.1+cpu"])
def test_before_torch_2_6_loading_is_made_safe_unless_the_caller_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    real = torch.load

    def load_of_then(f, map_location=None, pickle_module=None, *, weights_only=None, **options):
        return real(f, map_location, pickle_module, weights_only=bool(weights_only), **options)

    monkeypatch.setattr(torch, "__version__", type(torch.__version__)(version))
    monkeypatch.setattr(torch, "load", load_of_then)
    torch.save({"args": Arbitrary()}, tmp_path / "bad.pth")
    assert isinstance(torch.load(tmp_path / "bad.pth")["args"], Arbitrary)
    load_safely_by_default()
    load_safely_by_default()
    for options in ({"map_location": "cpu"}, {"weights_only": True}, {"weights_only": None}):
        with pytest.raises(Exception, match="Arbitrary"):
            torch.load(tmp_path / "bad.pth", **options)
    assert isinstance(torch.load(tmp_path / "bad.pth", "cpu", weights_only=False)["args"], Arbitrary)
    assert isinstance(torch.load(tmp_path / "bad.pth", pickle_module=pickle)["args"], Arbitrary)


def test_from_torch_2_6_on_loading_stays_as_it_is() -> None:
    assert torch.__version__ < "2.6" or not hasattr(torch.load, "wrapped_by_vlltr")


def test_numpy_bool_is_supplied_only_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    supply_numpy_bool()
    assert np.zeros(2, dtype=np.bool).dtype == np.bool_
    monkeypatch.delitem(vars(np), "bool")
    supply_numpy_bool()
    assert np.bool is np.bool_


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--local-rank=1", "--port=8666"], ["--local_rank=1", "--port=8666"]),
        (["--local-rank", "1"], ["--local_rank", "1"]),
        (["--local_rank=1", "--local-ranks"], ["--local_rank=1", "--local-ranks"]),
        ([], []),
    ],
)
def test_the_launcher_s_dash_becomes_an_underscore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: list[str], expected: list[str]
) -> None:
    script = tmp_path / "main.py"
    script.write_text("parser.add_argument('--local_rank')")
    monkeypatch.setattr(sys, "argv", [str(script), *given])
    accept_dashed_local_rank()
    accept_dashed_local_rank()
    assert sys.argv == [str(script), *expected]


def test_a_script_that_knows_the_dash_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text("parser.add_argument('--local_rank', '--local-rank')")
    monkeypatch.setattr(sys, "argv", [str(script), "--local-rank=1"])
    accept_dashed_local_rank()
    assert sys.argv[1:] == ["--local-rank=1"]


def test_importing_twice_changes_nothing_more() -> None:
    vlltr_plugin.compat.apply()  # an import hook of it goes when an earlier test imports the module that it waits for
    finders, modules = list(sys.meta_path), dict(sys.modules)
    importlib.reload(vlltr_plugin.compat)
    assert sys.meta_path == finders
    assert all(sys.modules[name] is module for name, module in modules.items())
