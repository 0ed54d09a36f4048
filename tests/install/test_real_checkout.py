"""The real checkout, where VLLTR_CHECKOUT names a clean clone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vlltr_plugin.install import install, status, uninstall


@pytest.mark.skipif("VLLTR_CHECKOUT" not in os.environ, reason="VLLTR_CHECKOUT names no clean VL-LTR clone")
def test_the_real_checkout_gets_insertions_only_and_is_clean_afterwards(tmp_path: Path) -> None:
    root = tmp_path / "real"
    shutil.copytree(os.environ["VLLTR_CHECKOUT"], root)

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True, text=True).stdout

    assert git("status", "--porcelain") == ""
    install(root)
    assert status(root).fits
    assert git("diff", "--numstat").split() == ["6", "0", "main.py"]
    compile((root / "main.py").read_bytes(), "main.py", "exec")
    assert git("status", "--porcelain", "--untracked-files=all").count("configs/class_volume/") == 2
    uninstall(root)
    assert git("status", "--porcelain") == ""
