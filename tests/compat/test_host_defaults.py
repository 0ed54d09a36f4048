"""Only the host's own functions that say "cuda" are changed, and only on a machine without CUDA."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vlltr_plugin.compat.host_modules import _AfterImport, default_to_cpu, replace_cuda_by_cpu

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
        return dict(device="cuda", other="cuda:0")
class Meter:
    def synchronize_between_processes(self):
        return "cuda"
"""
FOREIGN = "one_hot = 'cuda'\ndef mixup(device='cuda'): return device\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
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


def hooks() -> list[str]:
    return [finder.name for finder in sys.meta_path if isinstance(finder, _AfterImport)]


def test_modules_imported_later_build_on_the_cpu(host: Path) -> None:
    (host / "mixup.py").write_text(MIXUP)
    (host / "utils.py").write_text(UTILS)
    default_to_cpu()
    mixup, utils = importlib.import_module("mixup"), importlib.import_module("utils")
    labels = torch.tensor([1, 0])
    assert mixup.one_hot(labels, 2).tolist() == mixup.mixup_target(labels, 2).tolist() == [[0, 1], [1, 0]]
    assert utils.SmoothedValue().synchronize_between_processes() == {"device": "cpu", "other": "cuda:0"}
    assert mixup.other() == mixup.NAME == utils.Meter().synchronize_between_processes() == "cuda"
    assert mixup.__loader__.get_source("mixup") == MIXUP  # tracebacks and inspect still work


def test_each_hook_goes_once_its_module_has_come(host: Path) -> None:
    (host / "mixup.py").write_text(MIXUP)
    default_to_cpu()
    default_to_cpu()
    assert sorted(hooks()) == ["mixup", "utils"]
    importlib.import_module("mixup")
    assert hooks() == ["utils"]


def test_a_module_that_fails_to_import_fails_as_ever(host: Path) -> None:
    (host / "mixup.py").write_text("raise KeyError('inside')")
    default_to_cpu()
    with pytest.raises(KeyError, match="inside"):
        importlib.import_module("mixup")
    with pytest.raises(ModuleNotFoundError, match="utils"):
        importlib.import_module("utils")


def test_modules_imported_before_are_changed_too(host: Path) -> None:
    (host / "mixup.py").write_text(MIXUP)
    mixup = importlib.import_module("mixup")
    default_to_cpu()
    assert mixup.one_hot.__defaults__ == ("cpu",)
    assert hooks() == ["utils"]


def test_modules_of_another_shape_are_left_alone(host: Path) -> None:
    (host / "mixup.py").write_text(FOREIGN)
    default_to_cpu()
    mixup = importlib.import_module("mixup")
    assert mixup.one_hot == mixup.mixup() == "cuda"


def test_nothing_happens_on_a_machine_with_cuda(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (host / "mixup.py").write_text(MIXUP)
    default_to_cpu()
    assert hooks() == []
    assert importlib.import_module("mixup").one_hot.__defaults__ == ("cuda",)


def test_only_the_exact_word_is_replaced() -> None:
    def function(device: str = "cuda", other: object = (1, "cuda:0")) -> tuple[object, ...]:
        return device, other, "cuda" + str(1), "not cuda"

    replace_cuda_by_cpu(function)
    assert function()[:2] == ("cpu", (1, "cuda:0"))
    assert function()[3] == "not cuda"
