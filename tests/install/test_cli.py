"""The command line: what it prints and returns."""

import subprocess
import sys
from pathlib import Path

import pytest
from install.small_hosts import HOST

import vlltr_plugin
from vlltr_plugin.cli import main

NEXT = "next: vlltr-plugin check configs/class_volume/imagenet_lt_r50_dv.py --checkout"


def test_install_status_uninstall_print_and_return_what_happened(make_checkout, capsys):
    root = make_checkout(name="my runs")

    def call(*arguments, code=0):
        assert main([*arguments, str(root)]) == code
        return capsys.readouterr().out.splitlines()

    lines = call("install", "--dry-run")
    assert "--- a/main.py" in lines
    assert sum(line.startswith("+") and "# vlltr-plugin" in line for line in lines) == 6
    assert [line for line in lines if "class_volume" in line] == ["configs/class_volume/: 2 added (copied configs)"]
    assert any("nothing was written" in line for line in lines)
    assert lines[-1] == f"next: vlltr-plugin install '{root}'"
    assert len(lines) < 60
    call("status", code=1)
    said = call("install")[-1]
    assert said.startswith("installed in ")
    assert said.endswith(f"{NEXT} '{root}'")
    assert call("install")[0].startswith("already installed in ")
    assert f"installed from version {vlltr_plugin.__version__}, and fits" in call("status")[0]
    (root / "configs/class_volume/one.py").unlink()
    assert "configs/class_volume/: 1 added (copied configs)" in call("install", "--dry-run")
    assert "configs/class_volume/: 1 removed (copied configs)" in call("uninstall", "--dry-run")
    assert call("uninstall")[-1].startswith("uninstalled from ")
    assert call("uninstall")[0].startswith("nothing to uninstall in ")


@pytest.mark.parametrize("command", ["install", "uninstall", "status"])
def test_a_user_error_is_one_line_and_exit_code_2(command, capsys):
    assert main([command, "no such folder"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vlltr-plugin: error: no such folder")
    assert captured.err.count("\n") == 1


def test_the_module_runs_and_survives_a_narrow_encoding(make_checkout):
    root = make_checkout(HOST.replace("import json\n", "# größer\nimport json\n"))
    command = [sys.executable, "-m", "vlltr_plugin", "install", str(root)]
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(vlltr_plugin.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "gr\\xf6\\xdfer" in done.stdout
