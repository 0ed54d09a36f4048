"""The compat import comes before what it has to come before, and after the settings that torch reads."""

import subprocess
import sys
from pathlib import Path

import pytest
from install.small_hosts import HOST, write_files

from vlltr_plugin.install import install, status, uninstall

OURS = "import vlltr_plugin.compat"
SETTING = 'os.environ["CUDA_VISIBLE_DEVICES"] = "1"\n'

# What stands at the top of main.py, with @ where the line belongs if that is not before the function that trains.
TOPS = {
    "torch": "@import torch\n",
    "byte order mark": "\ufeff@import torch\n",
    "setting first": f"import os\n{SETTING}\n@import torch\n",
    "setting after other imports": f"import argparse\nimport os, sys\n{SETTING}import numpy\n@from torch import nn\n",
    "setting after the harmless": f"import os\nimport json\n{SETTING}import datetime\n@import timm.models as m\n",
    "own module": f"import os\n{SETTING}@from engine import *\nimport torch\n",
    "own package": f"import os\n{SETTING}@import losses.soft as soft\n",
    "relative": f"import os\n{SETTING}@from . import engine\n",
    "mmcv": f"import os\n{SETTING}@from mmcv import Config\nimport torch\n",
    "in try": f"import os\n{SETTING}@try:\n    import torch\nexcept ImportError:\n    raise\n",
    "in an except clause": f"import os\n{SETTING}@try:\n    pass\nexcept ImportError:\n    import torchvision\n",
    "in if": f"import os\nif 'X' in os.environ:\n    {SETTING}@if os.name:\n    import json\nelse:\n    import torch\n",
    "setting and import in one block": f"import os\n@if os.name:\n    {SETTING}    import torch\n",
    "in with": f"import os, warnings\n{SETTING}@with warnings.catch_warnings():\n    import torch\n",
    "in a class": f"import os\n{SETTING}@class Tools:\n    import torch\n",
    "for type checkers": f"import os, typing\nif typing.TYPE_CHECKING:\n    import torch\n{SETTING}@import timm\n",
    "by importlib": f"import importlib, os\n{SETTING}@torch = importlib.import_module('torch.nn')\n",
    "by __import__": f"import os\n{SETTING}@torch = __import__('torch')\n",
    "on one line": f"import json\n@import os; {SETTING.strip()}; import torch\n",
    "future": f"from __future__ import annotations\nimport os\n{SETTING}@import torch\n",
    "docstring and future": f'"""Doc."""\nfrom __future__ import annotations\n\nimport os\n{SETTING}@import torch\n',
    "only functions import torch": f"import os\ndef first():\n    import torch\n{SETTING}",
    "argument parser between": f"import argparse, os\nparser = argparse.ArgumentParser()\n{SETTING}@import torch.nn\n",
}


@pytest.fixture
def make_top(make_checkout):
    """A checkout with its own modules whose main.py starts with a text."""

    def make(top):
        own = {"engine.py": "import torch\n", "losses/soft.py": "", "data/no_module.txt": ""}
        return write_files(make_checkout(top + HOST[HOST.index("import json") :]), own)

    return make


def where(root):
    """Indices of our line."""
    lines = (root / "main.py").read_text("utf-8-sig").splitlines()
    return [index for index, line in enumerate(lines) if line.lstrip().startswith(OURS)]


@pytest.mark.parametrize("name", TOPS)
def test_it_stands_right_before_the_first_import_that_reaches_torch(name, make_top):
    before, belongs, after = TOPS[name].partition("@")
    root = make_top(before + after)
    text = (root / "main.py").read_text()
    expected = before.count("\n") if belongs else text.splitlines().index("def main(args):")
    install(root)
    assert (status(root).fits, status(root).notes) == (True, ())
    assert where(root) == [expected]
    uninstall(root)
    assert (root / "main.py").read_text() == text


def test_settings_at_the_top_apply_before_torch_comes(make_top):
    look = "print('torch' in sys.modules, end=' ')\n"
    root = make_top(f"import sys, os\n{look}{SETTING}{look}import engine\n{look}")
    install(root)
    command = [sys.executable, "-c", "import main"]
    path = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout == "False False True "


PLAIN = "import os\nimport json\n\nimport torch\n"
BLOCK = "import os\nif os.name:\n    pass\nimport torch\n\nimport sys\n"
MOVED = [
    *((PLAIN, to, "", to) for to in range(4)),  # any place further up fits and stays where no setting is between
    (f"import os\n{SETTING}import torch\n", 0, "settings for torch", 2),
    *((BLOCK, to, "not where this version would put it", 3) for to in (2, 4, 6, 7)),  # below, or inside a statement
]


@pytest.mark.parametrize(("top", "to", "said", "after"), MOVED)
def test_a_line_that_was_moved_stays_is_noted_or_is_a_problem(top, to, said, after, make_top):
    root = make_top(top)
    install(root)
    lines = (root / "main.py").read_text().splitlines(keepends=True)
    ours = lines.pop(where(root)[0])
    indentation = lines[to].removesuffix(lines[to].lstrip(" "))
    lines.insert(to, indentation + ours)
    (root / "main.py").write_text("".join(lines))
    found = status(root)
    assert found.fits is (top is not BLOCK)
    assert any(said in row for row in (*found.notes, *found.problems)) is bool(said)
    install(root)
    assert where(root) == [after]
    assert (status(root).fits, status(root).notes) == (True, ())


def test_settings_added_above_the_line_later_fit(make_top):
    root = make_top(PLAIN)
    install(root)
    (root / "main.py").write_text(f"import os\n{SETTING}{(root / 'main.py').read_text()}")
    assert status(root).fits
    assert install(root).changes == ()
