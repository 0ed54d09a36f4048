"""The host's own modules: where they say "cuda" without CUDA, and how they save checkpoints."""

import contextlib
import importlib
import resource
import sys
from pathlib import Path

import pytest
import torch

from vlltr_plugin.compat.host_modules import _AfterImport, default_to_cpu, save_checkpoints_whole

MIXUP = """
import torch
NAME = "cuda"
def one_hot(x, classes, device="cuda"):
    return torch.zeros(len(x), classes, device=device).scatter_(1, x.view(-1, 1), 1.0)
def mixup_target(x, classes, lam=1.0, device="cuda"):
    return one_hot(x, classes, device=device)
def other(device="cuda"):
    return device
"""
UTILS = """
import torch
class SmoothedValue:
    def synchronize_between_processes(self):
        return dict(device="cuda", other=("cuda:0", "not cuda"))
class Meter:
    def synchronize_between_processes(self):
        return "cuda"
def is_main_process():
    return MAIN
def save_on_master(*args, **kwargs):
    if is_main_process():
        torch.save(*args, **kwargs)
MAIN = True
"""
STATE = {"model": {"w": torch.arange(10_000)}, "epoch": 3}


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A folder on the import path for modules named as the host's, and no hook in place yet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, _AfterImport)])
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("mixup", "utils"):  # put back at the end, also if a test imports one
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def hooks():
    return [finder.name for finder in sys.meta_path if isinstance(finder, _AfterImport)]


@pytest.mark.parametrize("before", [False, True])
def test_modules_imported_before_or_later_build_on_the_cpu_and_the_import_hook_goes(host, before):
    (host / "mixup.py").write_text(MIXUP)
    (host / "utils.py").write_text(UTILS)
    if before:
        importlib.import_module("mixup")
    default_to_cpu()
    default_to_cpu()
    assert sorted(hooks()) == ["mixup", "utils"][before:]
    mixup = importlib.import_module("mixup")
    assert hooks() == ["utils"]
    utils, labels = importlib.import_module("utils"), torch.tensor([1, 0])
    assert mixup.one_hot(labels, 2).tolist() == mixup.mixup_target(labels, 2).tolist() == [[0, 1], [1, 0]]
    assert mixup.one_hot.__defaults__ == ("cpu",)
    assert utils.SmoothedValue().synchronize_between_processes() == {"device": "cpu", "other": ("cuda:0", "not cuda")}
    assert mixup.other() == mixup.NAME == utils.Meter().synchronize_between_processes() == "cuda"
    assert mixup.__loader__.get_source("mixup") == MIXUP  # tracebacks and inspect still work


def test_a_failing_import_raises_its_own_error_and_unknown_modules_are_not_patched(host):
    (host / "mixup.py").write_text("raise KeyError('inside')")
    default_to_cpu()
    for name, error, message in (("mixup", KeyError, "inside"), ("utils", ModuleNotFoundError, "utils")):
        with pytest.raises(error, match=message):
            importlib.import_module(name)
    (host / "mixup.py").write_text("one_hot = 'cuda'\ndef mixup(device='cuda'): return device  # of another host\n")
    default_to_cpu()
    foreign = importlib.import_module("mixup")
    assert foreign.one_hot == foreign.mixup() == "cuda"


@pytest.fixture
def utils(host):
    """A host's `utils`, imported after the shim has been applied, twice; `torch.save` itself stays."""
    (host / "utils.py").write_text(UTILS)
    real = torch.save
    save_checkpoints_whole()
    save_checkpoints_whole()
    utils = importlib.import_module("utils")
    assert torch.save is real
    return utils


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["checkpoint.pth", "checkpoint_10.pth", "no_suffix", "a.b.pt"])
def test_the_file_has_the_bytes_that_the_host_alone_would_write(utils, folder, name):
    torch.save(STATE, folder / name)
    plain = (folder / name).read_bytes()
    for path in (folder / name, str(folder / name)):
        (folder / name).unlink()
        utils.save_on_master(STATE, path)
        assert (folder / name).read_bytes() == plain
        assert names(folder) == [name]


@pytest.mark.parametrize("error", [None, OSError("no space"), RuntimeError("write failed"), KeyboardInterrupt()])
def test_the_old_checkpoint_is_there_until_the_new_one_is_whole(utils, folder, monkeypatch, error):
    path = folder / "checkpoint.pth"
    utils.save_on_master({"epoch": 1}, path)
    before, real = path.read_bytes(), torch.save

    def watched(state, f):
        Path(f).write_bytes(b"half")
        assert path.read_bytes() == before
        if error is not None:
            raise error
        real(state, f)

    monkeypatch.setattr(torch, "save", watched)
    with contextlib.nullcontext() if error is None else pytest.raises(type(error)):
        utils.save_on_master({"epoch": 2}, path)
    assert torch.load(path, weights_only=True)["epoch"] == (2 if error is None else 1)
    assert names(folder) == ["checkpoint.pth"]
    assert torch.save is watched


def test_only_rank_0_removes_files_of_a_killed_run(utils, folder):
    left = ["checkpoint.vlltr-unfinished", "checkpoint_10.vlltr-unfinished", "mine.tmp"]
    for name in left:
        (folder / name).write_bytes(b"half")
    for utils.MAIN, found in ((False, left), (True, ["checkpoint.pth", "mine.tmp"])):
        utils.save_on_master(STATE, folder / "checkpoint.pth")
        assert names(folder) == found


def test_a_link_stays_a_link_and_an_open_file_is_written_as_it_is(utils, folder):
    (folder / "disk").mkdir()
    (folder / "checkpoint.pth").symlink_to(folder / "disk" / "real.pth")
    utils.save_on_master(STATE, folder / "checkpoint.pth")
    assert (folder / "checkpoint.pth").is_symlink()
    assert names(folder / "disk") == ["real.pth"]
    with (folder / "open.pth").open("wb") as file:
        utils.save_on_master(STATE, file)
    assert torch.load(folder / "open.pth", weights_only=True)["epoch"] == 3


def test_memory_does_not_hold_a_second_copy(utils, folder):
    size, used = 200 * 2**20, lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    state, before = {"w": torch.ones(size // 4)}, used()
    utils.save_on_master(state, folder / "checkpoint.pth")
    assert used() - before < size / 4
    assert (folder / "checkpoint.pth").stat().st_size > size
