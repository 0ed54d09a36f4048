"""Schemas are declared only where torchvision fails to import for want of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DECLARE = """
from vlltr_plugin.compat.runtime import _kept_alive, declare_missing_ops
declare_missing_ops()
import torchvision, gc, torch
gc.collect()
print(len(_kept_alive), torchvision.state)
"""
NEEDS_NMS = """
import torch
from . import part
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
state = "complete"
"""


def run(torchvision: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Declare the operators in a process of its own that sees a torchvision with this text and no timm."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(torchvision)
    (folder / "torchvision" / "part.py").write_text("")
    hide_timm = "import sys; sys.modules['timm'] = None\n"
    paths = [str(folder), *filter(None, sys.path)]
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", hide_timm + DECLARE],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )


@pytest.mark.parametrize(("text", "expected"), [(NEEDS_NMS, "1 complete"), ("state = 'healthy'", "0 healthy")])
def test_schemas_are_declared_when_needed(tmp_path: Path, text: str, expected: str) -> None:
    done = run(text, tmp_path)
    assert done.stdout.strip() == expected, done.stderr


def test_another_failure_is_not_hidden(tmp_path: Path) -> None:
    done = run("raise RuntimeError('no disk')", tmp_path)
    assert "RuntimeError: no disk" in done.stderr


def test_the_installed_torchvision_and_timm_import() -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    import timm.models
    import torchvision.transforms

    assert torchvision.transforms.Resize
    assert timm.models.create_model
