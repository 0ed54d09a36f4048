"""Real checkouts: VLLTR_CHECKOUT names a clean clone of VL-LTR, VLLTR_LIFT a folder of those of LIFT's kin."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from install.small_hosts import write_files

from vlltr_plugin.install import AnchorError, install, status, uninstall

FOLDER = Path(os.environ.get("VLLTR_LIFT", "no folder"))
LIFT_S_KIN = sorted(path.parent for path in FOLDER.glob("*/trainer.py"))
LOOPS_BY_STEP = ("PartialCLIP", "LT-Soups")


def reformatted(width):
    """In the style of black."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={width}", "-"]
    return lambda text: subprocess.run(command, input=text, check=True, capture_output=True).stdout


def tabs(text):
    """Indented with tabs, so far as four blanks are a level."""
    return re.sub(rb"(?m)^(?:    )+", lambda blanks: b"\t" * (len(blanks[0]) // 4), reformatted(120)(text))


STYLES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "black": reformatted(88),
    "wide": reformatted(200),
    "tabs": tabs,
    "nested ifs": lambda text: text.replace(b"    if args.eval:\n", b"    if True:\n        pass\n    if args.eval:\n"),
}


@pytest.mark.skipif("VLLTR_CHECKOUT" not in os.environ, reason="VLLTR_CHECKOUT is not set")
@pytest.mark.parametrize("style", STYLES)
def test_the_real_checkout_gets_insertions_only_and_is_as_before_afterwards(style, tmp_path):
    root = shutil.copytree(os.environ["VLLTR_CHECKOUT"], tmp_path / "größer, real")

    def git(*arguments):
        return subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True, text=True).stdout

    assert git("status", "--porcelain") == ""
    given, main = (root / "main.py").read_bytes(), root / "main.py"
    main.write_bytes(STYLES[style](given))
    assert (main.read_bytes() == given) is (style == "as it is")
    git("add", "main.py")
    install(root)
    assert status(root).fits
    assert git("diff", "--numstat").split() == ["6", "0", "main.py"]
    compile(main.read_bytes(), "main.py", "exec")
    assert git("status", "--porcelain", "--untracked-files=all").count("configs/class_volume/") == 2
    uninstall(root)
    assert git("status", "--porcelain").split() == ([] if style == "as it is" else ["M", "main.py"])


@pytest.mark.parametrize("checkout", LIFT_S_KIN, ids=lambda path: path.name)
def test_real_checkouts_get_five_lines_and_are_restored_or_are_refused(checkout, make_lift):
    root = make_lift(name="real")
    files = {file: (checkout / file).read_bytes() for file in ("main.py", "trainer.py", "utils/config.py")}
    write_files(root, files)
    if checkout.name in LOOPS_BY_STEP:
        with pytest.raises(AnchorError, match=r"^trainer.py"):
            install(root)
    else:
        install(root)
        assert status(root).fits
        for file in files:
            compile((root / file).read_bytes(), file, "exec")
        command = ["diff", "-r", str(checkout / "trainer.py"), str(root / "trainer.py")]
        assert subprocess.run(command, capture_output=True, text=True, check=False).stdout.count("\n> ") == 3
    uninstall(root)
    assert {file: (root / file).read_bytes() for file in files} == files
