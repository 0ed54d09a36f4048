import os
import pickle
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checking import snapshot
from hostile import Hostile

from vlltr_plugin.check.sandbox import remove_empty_folders, restrict, safe_environment, side_folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in ("cached/old.pkl", "data/image", "runs/a/log.txt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"old")
    return folder


def run(checkout: Path, act: Callable[[Path], None]) -> None:
    """Calls `act(side)` in a restricted process that runs in the side folder; the checkout stays as it is."""
    before = snapshot(checkout)
    with side_folder(checkout, written=["cached"]) as side:
        child = os.fork()
        if child == 0:
            try:
                os.chdir(side)
                restrict(side, safe_pickle=True)
                act(side)
                remove_empty_folders()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    assert not side.exists()
    assert snapshot(checkout) == before


def test_a_cache_of_tensors_is_read_as_usual(checkout: Path) -> None:
    tokens = [torch.arange(6).view(2, 3), torch.ones(1, 3, dtype=torch.int32), torch.zeros(0, 3)]
    (checkout / "cached/tokens.pkl").write_bytes(pickle.dumps(tokens))

    def act(side: Path) -> None:
        with open("cached/tokens.pkl", "rb") as file:
            torch.testing.assert_close(pickle.load(file), tokens, rtol=0, atol=0)

    run(checkout, act)


def test_hostile_pickles_are_not_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bait = pickle.dumps([Hostile(Path("executed"))])
    (checkout / "bait.pkl").write_bytes(bait)
    torch.save([Hostile(Path("executed"))], checkout / "bait.pth")
    for name, value in safe_environment().items():
        monkeypatch.setenv(name, value)

    def act(side: Path) -> None:
        with open("bait.pkl", "rb") as file, pytest.raises(pickle.UnpicklingError, match=r"bait\.pkl.*mkdir"):
            pickle.load(file)
        with pytest.raises(pickle.UnpicklingError, match="mkdir"):
            pickle.loads(bait)
        with pytest.raises(pickle.UnpicklingError):
            torch.load("bait.pth", weights_only=False)
        assert not Path("executed").exists()

    run(checkout, act)
    monkeypatch.chdir(checkout)
    pickle.loads(bait)
    assert Path("executed").exists()  # the bait would have worked


def test_files_and_folders_of_the_host_are_made_beside_the_checkout_and_empty_ones_elsewhere_removed(
    checkout: Path, tmp_path: Path
) -> None:
    def act(side: Path) -> None:
        assert Path("cached/old.pkl").read_bytes() == Path("data/image").read_bytes() == b"old"
        Path("cached/new.pkl").write_bytes(b"new")
        for folder in ("runs/a", "runs/a/b/c", side / "runs/d", "new/e"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        os.makedirs("runs/f/g")
        os.mkdir("data/image")
        Path("runs/a/b/c/new").write_text("")
        assert Path("runs/a/log.txt").read_bytes() == b"old"
        assert Path("data/image").is_file()
        os.makedirs(tmp_path / "empty/run")
        os.makedirs(tmp_path / "full/run")
        (tmp_path / "full/download").write_text("")

    run(checkout, act)
    beside = [path.name for path in tmp_path.rglob("*") if checkout not in path.parents]
    assert sorted(beside) == ["checkout", "download", "full"]


def test_files_of_the_checkout_are_changed_beside_it(checkout: Path) -> None:
    def act(side: Path) -> None:
        with open("data/image", "w") as file:
            file.write("new")
        with open("runs/a/log.txt", "a") as file:
            file.write(" and new")
        Path("runs/a/first").write_text("")
        torch.save(1, "cached/old.pkl")
        assert [Path(name).read_text() for name in ("data/image", "runs/a/log.txt")] == ["new", "old and new"]
        assert torch.load("cached/old.pkl") == 1
        os.replace("runs/a/first", "data/image")
        os.remove("runs/a/log.txt")
        assert [path.name for path in Path("data").iterdir()] == ["image"]
        assert list(Path("runs/a").iterdir()) == []
        shutil.rmtree("data")

    run(checkout, act)


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda path: path.write_text("new"),
    "append": lambda path: path.open("a"),
    "torch.save": lambda path: torch.save(1, path),
    "truncate": lambda path: os.truncate(path, 0),
    "replace": lambda path: os.replace("new", path),
    "move": lambda path: shutil.move(path, "moved"),
    "remove": lambda path: path.unlink(),
    "remove its folder": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("place", ["checkout/runs/a", "elsewhere"])
def test_files_that_were_there_cannot_be_changed_by_their_full_path(
    change: Callable[[Path], object], place: str, checkout: Path, tmp_path: Path
) -> None:
    path = tmp_path / place / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("old")
    new = tmp_path / "new" / "log.txt"

    def act(side: Path) -> None:
        Path("new").write_text("new")
        with pytest.raises(PermissionError, match=f"it would change {path}"):
            change(path)
        new.parent.mkdir()
        new.write_text("")
        new.write_text("new")  # its own file
        change(new)

    run(checkout, act)
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["log.txt"]


def test_caches_may_change_and_files_may_be_mapped(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    for name in ("hub/main", "array", "lock"):
        (tmp_path / name).write_text("old" if name != "lock" else "")

    def act(side: Path) -> None:
        (tmp_path / "hub/main").write_text("new")
        (tmp_path / "lock").open("w").close()
        with (tmp_path / "array").open("r+b") as file:
            assert file.read() == b"old"
        with open("/dev/null", "w") as file:
            file.write("x")

    run(checkout, act)
    assert (tmp_path / "hub/main").read_text() == "new"


def test_a_checkout_without_a_cache_gets_none(checkout: Path) -> None:
    (checkout / "cached/old.pkl").unlink()
    (checkout / "cached").rmdir()
    run(checkout, lambda side: Path("cached/new.pkl").write_bytes(b"new") and None)


def test_no_process_group_is_joined_and_loading_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0"), ("OTHER", "kept")):
        monkeypatch.setenv(name, value)
    before, found = dict(os.environ), safe_environment()
    assert (found.get("RANK"), found["TORCH_FORCE_WEIGHTS_ONLY_LOAD"], found["OTHER"]) == (None, "1", "kept")
    assert dict(os.environ) == before
