"""A checkpoint tells its arguments and runs nothing."""

import argparse
import contextlib
import pickle

import pytest
import torch
from hostile import Hostile

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs import checkpoint_args
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args


def test_the_arguments_of_a_checkpoint_are_read(tmp_path):
    args = {"lr": 0.1, "betas": (0.9, None), "reweight": {"type": "class_volume"}}
    for number, zipped in enumerate((True, False)):
        path = tmp_path / f"{number}.pth"
        content = {"args": argparse.Namespace(**args), "model": {"w": torch.ones(4)}}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert read_checkpoint_args(path) == args


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], {"args": 3}])
def test_a_checkpoint_without_arguments_has_none(tmp_path, content):
    torch.save(content, tmp_path / "c.pth")
    assert read_checkpoint_args(tmp_path / "c.pth") is None


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "inside the namespace"])
def test_a_hostile_checkpoint_is_refused_and_nothing_of_it_runs(tmp_path, form):
    mark, path = tmp_path / "mark", tmp_path / "c.pth"
    content = {"model": {}, "args": Hostile(mark)}
    if form == "inside the namespace":
        content = {"args": argparse.Namespace(lr=Hostile(mark))}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(
        ReportError, match="not loaded: it holds more than tensors and plain values, which could run code"
    ) as caught:
        read_checkpoint_args(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the payload was a real one


def test_damaged_and_hostile_checkpoints_give_different_errors(tmp_path):
    path = tmp_path / "c.pth"
    torch.save({"args": argparse.Namespace(lr=1), "model": torch.ones(10_000)}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ValueError, match="killed while writing"):
        read_checkpoint_args(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="killed while writing"):
        read_checkpoint_args(path)


def test_the_namespace_is_a_safe_global_inside_the_call_only(tmp_path):
    before = list(torch.serialization.get_safe_globals())
    path = tmp_path / "c.pth"
    torch.save({"args": argparse.Namespace(lr=1)}, path)
    torch.serialization.clear_safe_globals()
    try:
        read_checkpoint_args(path)
        assert torch.serialization.get_safe_globals() == []
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


class LiveList:
    """`torch.serialization`'s three functions as torch 2.4 and 2.5 have them: `get` gives the list itself."""

    def __init__(self):
        self.trusted = []

    def get_safe_globals(self):
        return self.trusted

    def add_safe_globals(self, kinds):
        self.trusted += kinds

    def clear_safe_globals(self):
        self.trusted = []


@pytest.mark.parametrize("own", [[], [dict], [argparse.Namespace]])
@pytest.mark.parametrize("content", ["sound", "hostile"])
def test_the_safe_globals_are_the_same_after_the_call_also_on_torch_2_4(tmp_path, monkeypatch, own, content):
    live = LiveList()
    live.add_safe_globals(own)
    for name in ("get_safe_globals", "add_safe_globals", "clear_safe_globals"):
        monkeypatch.setattr(torch.serialization, name, getattr(live, name))
    seen = []

    def load(*_, **__):
        seen.append(list(live.trusted))
        if content == "hostile":
            raise pickle.UnpicklingError

    monkeypatch.setattr(torch, "load", load)
    (tmp_path / "c.pth").write_bytes(b"PK")
    with contextlib.suppress(pickle.UnpicklingError):
        checkpoint_args.load_safely(tmp_path / "c.pth")
    assert argparse.Namespace in seen[0]
    assert live.trusted == own
