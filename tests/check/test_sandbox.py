import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from vlltr_plugin.check.sandbox import sandbox


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cached").mkdir()
    (tmp_path / "cached/old.pkl").write_bytes(b"old")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_hosts_cache_is_read_as_usual(inside: Path) -> None:
    tokens = [torch.arange(6).view(2, 3), torch.ones(1, 3, dtype=torch.int32), torch.zeros(0, 3)]
    Path("cached/tokens.pkl").write_bytes(pickle.dumps(tokens))
    with sandbox(inside) as side, (side / "cached/tokens.pkl").open("rb") as file:
        found = pickle.load(file)
    assert all(torch.equal(one, other) for one, other in zip(found, tokens, strict=True))
    assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in tokens]


def test_hostile_pickles_are_not_run(inside: Path) -> None:
    Path("bait.pkl").write_bytes(pickle.dumps([Hostile()]))
    torch.save([Hostile()], "bait.pth")
    with sandbox(inside):
        with Path("bait.pkl").open("rb") as file, pytest.raises(pickle.UnpicklingError, match=r"bait\.pkl.*mkdir"):
            pickle.load(file)
        with pytest.raises(pickle.UnpicklingError, match="mkdir"):
            pickle.loads(pickle.dumps(Hostile()))
        with pytest.raises(pickle.UnpicklingError):
            torch.load("bait.pth", weights_only=False)
    assert not Path("executed").exists()
    pickle.loads(pickle.dumps(Hostile()))  # as before afterwards
    assert Path("executed").exists()


def test_what_is_cached_lands_beside_the_checkout(inside: Path) -> None:
    with sandbox(inside) as side:
        assert (side / "cached/old.pkl").read_bytes() == b"old"
        (side / "cached/new.pkl").write_bytes(b"new")
        assert (side / "data").is_dir()
    assert not side.exists()
    assert os.listdir(inside / "cached") == ["old.pkl"]


def test_a_checkout_without_a_cache_gets_none(inside: Path) -> None:
    (inside / "cached/old.pkl").unlink()
    (inside / "cached").rmdir()
    with sandbox(inside) as side:
        (side / "cached/new.pkl").write_bytes(b"new")
    assert not (inside / "cached").exists()


def test_variables_come_back(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    before = dict(os.environ)
    with sandbox(inside):
        assert "RANK" not in os.environ
    assert dict(os.environ) == before
