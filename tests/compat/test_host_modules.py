"""The host's own modules: where they say "cuda" without CUDA, and how they save checkpoints."""

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
class SmoothedValue:
    def synchronize_between_processes(self):
        return dict(device="cuda", other=("cuda:0", "not cuda"))
class Meter:
    def synchronize_between_processes(self):
        return "cuda"
"""
FOREIGN = "one_hot = 'cuda'\ndef mixup(device='cuda'): return device\n"


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A folder on the import path for modules named as the host's, and no hook in place yet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, _AfterImport)])
    monkeypatch.syspath_prepend(str(tmp_path))
    saved = {name: sys.modules.pop(name, None) for name in ("mixup", "utils")}
    yield tmp_path
    for name, module in saved.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def hooks():
    return [finder.name for finder in sys.meta_path if isinstance(finder, _AfterImport)]


def test_modules_imported_later_build_on_the_cpu(host):
    (host / "mixup.py").write_text(MIXUP)
    (host / "utils.py").write_text(UTILS)
    default_to_cpu()
    mixup, utils = importlib.import_module("mixup"), importlib.import_module("utils")
    labels = torch.tensor([1, 0])
    assert mixup.one_hot(labels, 2).tolist() == mixup.mixup_target(labels, 2).tolist() == [[0, 1], [1, 0]]
    assert utils.SmoothedValue().synchronize_between_processes() == {"device": "cpu", "other": ("cuda:0", "not cuda")}
    assert mixup.other() == mixup.NAME == utils.Meter().synchronize_between_processes() == "cuda"
    assert mixup.__loader__.get_source("mixup") == MIXUP  # tracebacks and inspect still work


@pytest.mark.parametrize("before", [False, True])
def test_a_module_imported_before_or_after_is_patched_and_the_import_hook_removed(host, before):
    (host / "mixup.py").write_text(MIXUP)
    if before:
        importlib.import_module("mixup")
    default_to_cpu()
    default_to_cpu()
    assert sorted(hooks()) == ["mixup", "utils"][before:]
    assert importlib.import_module("mixup").one_hot.__defaults__ == ("cpu",)
    assert hooks() == ["utils"]


def test_a_failing_import_raises_its_own_error(host):
    (host / "mixup.py").write_text("raise KeyError('inside')")
    default_to_cpu()
    with pytest.raises(KeyError, match="inside"):
        importlib.import_module("mixup")
    with pytest.raises(ModuleNotFoundError, match="utils"):
        importlib.import_module("utils")


def test_unknown_host_modules_are_not_patched(host):
    (host / "mixup.py").write_text(FOREIGN)
    default_to_cpu()
    mixup = importlib.import_module("mixup")
    assert mixup.one_hot == mixup.mixup() == "cuda"


SAVING = """
import torch
def is_main_process():
    return MAIN
def save_on_master(*args, **kwargs):
    if is_main_process():
        torch.save(*args, **kwargs)
MAIN = True
"""
STATE = {"model": {"w": torch.arange(10_000)}, "epoch": 3}


@pytest.fixture
def utils(host):
    """A host's `utils`, imported after the shim has been applied, twice."""
    (host / "utils.py").write_text(SAVING)
    save_checkpoints_whole()
    save_checkpoints_whole()
    return importlib.import_module("utils")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["checkpoint.pth", "checkpoint_10.pth", "no_suffix", "a.b.pt"])
@pytest.mark.parametrize("as_text", [True, False])
def test_the_file_has_the_bytes_that_the_host_alone_would_write(utils, folder, name, as_text):
    torch.save(STATE, folder / name)
    plain = (folder / name).read_bytes()
    (folder / name).unlink()
    utils.save_on_master(STATE, str(folder / name) if as_text else folder / name)
    assert (folder / name).read_bytes() == plain
    assert names(folder) == [name]


def test_while_it_is_written_the_old_checkpoint_is_there(utils, folder, monkeypatch):
    path = folder / "checkpoint.pth"
    utils.save_on_master({"epoch": 1}, path)
    seen = []
    real = torch.save

    def watched(state, f):
        Path(f).write_bytes(b"half")
        seen.append(torch.load(path, weights_only=True)["epoch"])
        real(state, f)

    monkeypatch.setattr(torch, "save", watched)
    utils.save_on_master({"epoch": 2}, path)
    assert seen == [1]
    assert torch.load(path, weights_only=True)["epoch"] == 2
    assert torch.save is watched


@pytest.mark.parametrize("error", [OSError("no space left"), RuntimeError("file write failed"), KeyboardInterrupt()])
def test_a_failed_save_raises_and_leaves_the_old_checkpoint_alone(utils, folder, monkeypatch, error):
    path = folder / "checkpoint.pth"
    utils.save_on_master(STATE, path)
    before = path.read_bytes()

    def failing(state, f):
        Path(f).write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(type(error)):
        utils.save_on_master({}, path)
    assert path.read_bytes() == before
    assert names(folder) == ["checkpoint.pth"]
    assert torch.save is failing


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


def test_saving_elsewhere_is_left_alone(utils, folder, monkeypatch):
    torch.save(STATE, folder / "own.pth")
    monkeypatch.setattr("os.replace", lambda *_: pytest.fail("torch.save itself was changed"))
    torch.save(STATE, folder / "own.pth")


def test_memory_does_not_hold_a_second_copy(utils, folder):
    size = 200 * 2**20
    state = {"w": torch.ones(size // 4)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    utils.save_on_master(state, folder / "checkpoint.pth")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < size / 4
    assert (folder / "checkpoint.pth").stat().st_size > size
