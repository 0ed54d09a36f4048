"""Real checkouts: VLLTR_CHECKOUT names a clean clone of VL-LTR, VLLTR_LIFT a folder of those of LIFT's kin."""

import codecs
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vlltr_plugin.install import AnchorError, install, status, uninstall

needs_checkout = pytest.mark.skipif("VLLTR_CHECKOUT" not in os.environ, reason="VLLTR_CHECKOUT is not set")


@needs_checkout
def test_the_real_checkout_gets_insertions_only_and_is_clean_afterwards(tmp_path):
    root = tmp_path / "real"
    shutil.copytree(os.environ["VLLTR_CHECKOUT"], root)

    def git(*arguments):
        return subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True, text=True).stdout

    assert git("status", "--porcelain") == ""
    install(root)
    assert status(root).fits
    assert git("diff", "--numstat").split() == ["6", "0", "main.py"]
    compile((root / "main.py").read_bytes(), "main.py", "exec")
    assert git("status", "--porcelain", "--untracked-files=all").count("configs/class_volume/") == 2
    uninstall(root)
    assert git("status", "--porcelain") == ""


def reformatted(width):
    """In the style of black."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={width}", "-"]
    return lambda text: subprocess.run(command, input=text, check=True, capture_output=True).stdout


def tabs(text):
    """Indented with tabs, so far as four blanks are a level."""
    return re.sub(rb"(?m)^(?:    )+", lambda blanks: b"\t" * (len(blanks[0]) // 4), reformatted(120)(text))


STYLES: dict[str, Callable[[bytes], bytes]] = {
    "black": reformatted(88),
    "wide": reformatted(200),
    "tabs": tabs,
    "crlf": lambda text: text.replace(b"\n", b"\r\n"),
    "bom": lambda text: codecs.BOM_UTF8 + text,
    "nested ifs": lambda text: text.replace(b"    if args.eval:\n", b"    if True:\n        pass\n    if args.eval:\n"),
    "more arguments": lambda text: text.replace(b"def main(args):", b"def main(args, *, extra=None, **more) -> None:"),
}


@needs_checkout
@pytest.mark.parametrize("name", STYLES)
def test_in_another_style_it_is_patched_and_restored(name, tmp_path):
    root = tmp_path / "größer, real"
    (root / "configs").mkdir(parents=True)
    original = (Path(os.environ["VLLTR_CHECKOUT"]) / "main.py").read_bytes()
    restyled = STYLES[name](original)
    assert restyled != original
    compile(restyled, "main.py", "exec")
    (root / "main.py").write_bytes(restyled)
    install(root)
    assert status(root).fits
    compile((root / "main.py").read_bytes(), "main.py", "exec")
    uninstall(root)
    assert (root / "main.py").read_bytes() == restyled


FOLDER = Path(os.environ.get("VLLTR_LIFT", "."))
CHECKOUTS = sorted(path.parent for path in FOLDER.glob("*/trainer.py")) if "VLLTR_LIFT" in os.environ else []
LOOPS_BY_STEP = ("PartialCLIP", "LT-Soups")


@pytest.mark.parametrize("checkout", CHECKOUTS, ids=lambda path: path.name)
def test_real_checkouts_get_five_lines_and_are_restored_or_are_refused(checkout, make_lift):
    root = make_lift(name="real")
    files = ("main.py", "trainer.py", "utils/config.py")
    for file in files:
        (root / file).write_bytes((checkout / file).read_bytes())
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
    assert {file: (root / file).read_bytes() for file in files} == {f: (checkout / f).read_bytes() for f in files}
