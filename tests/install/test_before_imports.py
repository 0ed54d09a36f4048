"""The compat import comes before what it has to come before, and after the settings that torch reads."""

import subprocess
import sys
from pathlib import Path

import pytest

from vlltr_plugin.install import install, status, uninstall

OURS = "import vlltr_plugin.compat"
SETTING = 'os.environ["CUDA_VISIBLE_DEVICES"] = "1"\n'

# What stands at the top of main.py, with @ where the line belongs.
TOPS = {
    "torch": "@import torch\n",
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
    "argument parser between": f"import argparse, os\nparser = argparse.ArgumentParser()\n{SETTING}@import torch.nn\n",
}


@pytest.fixture
def make_top(make_checkout, host):
    """A checkout with its own modules whose main.py starts with a text."""

    def make(top):
        rest = host[host.index("import json") :]
        root = make_checkout(top + rest)
        (root / "engine.py").write_text("import torch\n")
        (root / "losses").mkdir()
        (root / "losses" / "soft.py").write_text("")
        (root / "data").mkdir()  # no module
        return root

    return make


def where(root):
    """Indices of our line."""
    return [i for i, line in enumerate((root / "main.py").read_text().splitlines()) if line.lstrip().startswith(OURS)]


@pytest.mark.parametrize("name", TOPS)
def test_it_stands_right_before_the_first_import_that_reaches_torch(name, make_top):
    before, _, after = TOPS[name].partition("@")
    root = make_top(before + after)
    text = (root / "main.py").read_text()
    install(root)
    assert status(root).fits
    assert not status(root).notes
    assert where(root) == [before.count("\n")]
    uninstall(root)
    assert (root / "main.py").read_text() == text


def test_where_only_functions_import_torch_it_stands_before_training(make_top):
    root = make_top(f"import os\ndef first():\n    import torch\n{SETTING}")
    install(root)
    lines = (root / "main.py").read_text().splitlines()
    assert lines[where(root)[0] + 1] == "def main(args):"


def test_settings_at_the_top_apply_before_torch_comes(make_top):
    look = "print('torch' in sys.modules, end=' ')\n"
    root = make_top(f"import sys, os\n{look}{SETTING}{look}import engine\n{look}")
    install(root)
    command = [sys.executable, "-c", "import main"]
    path = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout == "False False True "


def moved(root, to):
    """Move our line before the line with that index."""
    lines = (root / "main.py").read_text().splitlines(keepends=True)
    ours = lines.pop(where(root)[0])
    lines.insert(to, ours)
    (root / "main.py").write_text("".join(lines))


PLAIN, BLOCK = (
    "import os\nimport json\n\nimport torch\n",
    "import os\nif os.name:\n    pass\nimport torch\n\nimport sys\n",
)
MOVED = [
    *((PLAIN, to, "", to) for to in range(4)),  # any place further up fits and stays where no setting is between
    (f"import os\n{SETTING}import torch\n", 0, "settings for torch", 2),
    *((BLOCK, to, "not where this version would put it", 3) for to in (4, 6, 7)),  # below, or inside a statement
]


@pytest.mark.parametrize(("top", "to", "said", "after"), MOVED)
def test_a_line_that_was_moved_stays_is_noted_or_is_a_problem(top, to, said, after, make_top):
    root = make_top(top)
    install(root)
    moved(root, to)
    found = status(root)
    assert found.fits is (top is not BLOCK)
    assert any(said in row for row in (*found.notes, *found.problems)) is bool(said)
    install(root)
    assert where(root) == [after]
    assert (status(root).fits, status(root).notes) == (True, ())


def test_settings_added_above_the_line_later_fit_and_a_line_inside_a_block_does_not(make_top):
    root = make_top("import os\nif os.name:\n    pass\nimport torch\n")
    install(root)
    main = root / "main.py"
    text = main.read_text()
    main.write_text(f"import os\n{SETTING}{text}")
    assert status(root).fits
    assert install(root).changes == ()
    ours = text.splitlines(keepends=True)[3]
    main.write_text(text.replace(ours, "").replace("    pass\n", f"    {ours}    pass\n"))
    assert not status(root).fits
