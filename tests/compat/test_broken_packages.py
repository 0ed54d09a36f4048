"""A package of the host's that is there and does not import keeps its own error."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vlltr_plugin.compat.stand_ins import (
    Config,
    accept_zero_bit_posterize,
    supply_clip,
    supply_mmcv,
    supply_timm_registry,
)

Write = Callable[[dict[str, str]], None]
FAULTS = {
    "ftfy_is_missing": ("import ftfy_is_missing", ModuleNotFoundError),
    "libGL.so.1": ("raise ImportError('libGL.so.1: cannot open shared object file')", ImportError),
    "cannot import name 'packaging'": ("from json import packaging", ImportError),
    "invalid syntax": ("1 1", SyntaxError),
    "broken for good": ("raise RuntimeError('broken for good')", RuntimeError),
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files of packages that come before all others."""

    def write_all(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tops = {name.partition("/")[0].removesuffix(".py") for name in files}
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(tmp_path))

    before = set(sys.modules)
    yield write_all
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


@pytest.mark.parametrize("message", FAULTS)
def test_a_broken_clip(write: Write, message: str) -> None:
    code, error = FAULTS[message]
    write(
        {
            "clip/__init__.py": "from .clip import *",
            "clip/clip.py": "from .simple_tokenizer import SimpleTokenizer",
            "clip/simple_tokenizer.py": f"{code}\nclass SimpleTokenizer: pass",
        }
    )
    supply_clip()
    for statement in ("from clip import clip", "from clip.simple_tokenizer import SimpleTokenizer", "import clip"):
        with pytest.raises(error, match=message):
            exec(statement)


@pytest.mark.parametrize("message", FAULTS)
def test_a_broken_mmcv(write: Write, message: str) -> None:
    code, error = FAULTS[message]
    write({"mmcv/__init__.py": "from .utils import *", "mmcv/utils.py": code})
    supply_mmcv()
    for statement in ("from mmcv import Config", "import mmcv", "import mmcv.utils"):
        with pytest.raises(error, match=message):
            exec(statement)


def test_a_folder_named_mmcv_is_completed(write: Write) -> None:
    write({"mmcv/readme.txt": ""})
    supply_mmcv()
    assert importlib.import_module("mmcv").Config is Config


@pytest.mark.parametrize("where", ["timm/__init__.py", "timm/models/__init__.py", "timm/data/__init__.py"])
@pytest.mark.parametrize("message", FAULTS)
def test_a_broken_timm(write: Write, monkeypatch: pytest.MonkeyPatch, message: str, where: str) -> None:
    code, error = FAULTS[message]
    files = dict.fromkeys(["timm/__init__.py", "timm/models/__init__.py", "timm/data/__init__.py"], "")
    write({**files, where: code})
    monkeypatch.setattr("vlltr_plugin.compat.stand_ins._pillow_posterizes_to_zero_bits", lambda: False)
    supply_timm_registry()
    accept_zero_bit_posterize()
    with pytest.raises(error, match=message):
        importlib.import_module(where.removesuffix("/__init__.py").replace("/", "."))
