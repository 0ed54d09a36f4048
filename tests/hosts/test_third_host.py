"""Another host is one folder and one recipe: here a trainer that ends epochs by a function of its own."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlltr_plugin.hosts
from vlltr_plugin.cli import main
from vlltr_plugin.hosts import host_of_checkout
from vlltr_plugin.install import install, status, uninstall

RECIPE = """
name = "third"
host = "Third"
next_command = "python fit.py"
reserved = ["vlltr_plugin", "reweight_hook"]
[[patches]]
file = "fit.py"
function = "fit"
loop = "e"
[[patches.insertions]]
name = "attach"
line = "reweight_hook = vlltr_plugin.hosts.third.attach(criterion)"
rule = "before_loop"
place = "before the loop"
"""
HOST = '''
"""What is third's own."""
import re
from vlltr_plugin.core.shot_groups import OTHERS
from vlltr_plugin.hosts.host import Host, Metric, RunFiles, Words
from vlltr_plugin.runs.log import Log
def attach(criterion):
    return criterion
def read_log(path):
    lines = re.findall(r"epoch (\\d+): (\\S+)", path.read_text())
    return Log(path, {int(epoch): {"right": float(value)} for epoch, value in lines}, None, ())
def read_run(path):
    return RunFiles(read_log(path), {"data_set": "d"}, path, None, ())
def find_log(folder):
    return next(folder.glob("third.log"), None)
ALL = Metric("overall", "right", "overall top-1")
HOST = Host(
    name="third", title="Third", is_log=lambda head: head.startswith(b"third"), find_log=find_log, read_log=read_log,
    read_run=read_run, check=lambda request, say: None, overall=ALL, groups=(), metrics=(ALL,), convention=OTHERS,
    reweight_seconds="reweight_seconds", words=Words(("Third's words.",), "test set", "", "", "log"),
)
'''


@pytest.fixture
def third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "__init__.py").write_text("from vlltr_plugin.hosts.third.host import attach\n")
    (tmp_path / "third" / "host.py").write_text(HOST)
    (tmp_path / "third.toml").write_text(RECIPE)
    monkeypatch.setattr(vlltr_plugin.hosts, "__path__", [*vlltr_plugin.hosts.__path__, str(tmp_path)])
    monkeypatch.setattr("vlltr_plugin.install.recipe.patches_dir", lambda: tmp_path)
    monkeypatch.setitem(vlltr_plugin.hosts.HOSTS, "third", "vlltr_plugin.hosts.third.host")
    yield
    for name in [name for name in sys.modules if name.startswith("vlltr_plugin.hosts.third")]:
        del sys.modules[name]


def test_a_third_host_is_installed_recognised_and_compared(
    third: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, text = tmp_path / "checkout", "def fit(criterion):\n    for e in range(2):\n        finish(e)\n"
    root.mkdir()
    (root / "fit.py").write_text(text)
    assert install(root).recipe.host == "Third"
    assert status(root).fits
    assert host_of_checkout(root).name == "third"
    uninstall(root)
    assert (root / "fit.py").read_text() == text
    assert importlib.import_module("vlltr_plugin.hosts.third").attach(1) == 1
    for name, accuracy in (("a", 50), ("b", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "third.log").write_text(f"third\nepoch 0: 10\nepoch 1: {accuracy}\n")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "+10.00" in said
    assert "Third's words." in said
