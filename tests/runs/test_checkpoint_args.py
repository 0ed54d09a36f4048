"""A checkpoint tells its arguments and runs nothing."""

import argparse
import contextlib
import pickle

import pytest
import torch
from hostile import Hostile

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.checkpoint_args import load_safely, read_checkpoint_args

ARGS = {"lr": 0.1, "betas": (0.9, None), "reweight": {"type": "class_volume"}}
SOUND = {"args": argparse.Namespace(**ARGS), "model": {"w": torch.ones(10_000)}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c.pth"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "args"), [(SOUND, ARGS), ({"model": {}}, None), ([1, 2], None), ({"args": 3}, None)]
)
def test_the_arguments_of_a_checkpoint_are_read_if_it_has_any(path, content, args, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint_args(path) == args


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "inside the namespace"])
def test_a_hostile_checkpoint_is_refused_and_nothing_of_it_runs(tmp_path, path, form):
    mark = tmp_path / "mark"
    hostile = Hostile(mark)
    content = {"args": argparse.Namespace(lr=hostile) if form == "inside the namespace" else hostile}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(ReportError, match="more than tensors and plain values, which could run code") as caught:
        read_checkpoint_args(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the payload was a real one


@pytest.mark.parametrize("length", [20_000, 0])
def test_a_damaged_checkpoint_is_told_from_a_hostile_one(path, length):
    torch.save(SOUND, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="killed while writing"):
        read_checkpoint_args(path)


def test_the_namespace_is_a_safe_global_inside_the_call_only(path):
    before = list(torch.serialization.get_safe_globals())
    torch.save(SOUND, path)
    torch.serialization.clear_safe_globals()
    try:
        read_checkpoint_args(path)
        assert torch.serialization.get_safe_globals() == []
    finally:
        torch.serialization.add_safe_globals(before)


@pytest.mark.parametrize("own", [[], [dict], [argparse.Namespace]])
@pytest.mark.parametrize("content", ["sound", "hostile"])
def test_the_safe_globals_are_the_same_after_the_call_also_on_torch_2_4(path, monkeypatch, own, content):
    """There `get_safe_globals` gives the list itself."""
    trusted, seen = list(own), []
    live = {
        "get_safe_globals": lambda: trusted,
        "add_safe_globals": trusted.extend,
        "clear_safe_globals": trusted.clear,
    }
    for name, function in live.items():
        monkeypatch.setattr(torch.serialization, name, function)

    def load(*_, **__):
        seen.extend(trusted)
        if content == "hostile":
            raise pickle.UnpicklingError

    monkeypatch.setattr(torch, "load", load)
    path.write_bytes(b"PK")
    with contextlib.suppress(pickle.UnpicklingError):
        load_safely(path)
    assert argparse.Namespace in seen
    assert trusted == own
