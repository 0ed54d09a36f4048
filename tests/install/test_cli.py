"""The command line: what it prints and returns."""

import subprocess
import sys
from pathlib import Path

import pytest

import vlltr_plugin
from vlltr_plugin.cli import main


def test_install_status_uninstall_print_and_return_what_happened(make_checkout, capsys):
    root = str(make_checkout())

    def call(*arguments):
        code = main([*arguments, root])
        return code, capsys.readouterr().out

    code, out = call("install", "--dry-run")
    assert (code, "--- a/main.py" in out, "nothing was written" in out) == (0, True, True)
    assert call("status")[0] == 1
    code, out = call("install")
    assert (code, out.splitlines()[-1].startswith("installed in ")) == (0, True)
    assert call("install")[1].startswith("already installed in ")
    code, out = call("status")
    assert (code, f"installed from version {vlltr_plugin.__version__}, and fits" in out) == (0, True)
    code, out = call("uninstall")
    assert (code, out.splitlines()[-1].startswith("uninstalled from ")) == (0, True)
    assert call("uninstall")[1].startswith("nothing to uninstall in ")


@pytest.mark.parametrize("command", ["install", "uninstall", "status"])
def test_a_user_error_is_one_line_and_exit_code_2(command, capsys):
    assert main([command, "no such folder"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vlltr-plugin: error: no such folder")
    assert captured.err.count("\n") == 1


def test_dry_run_is_the_hosts_diff_a_line_on_the_configs_and_the_next_command(make_checkout, capsys):
    root = make_checkout(name="my runs")
    assert main(["install", "--dry-run", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("+") and "# vlltr-plugin" in line for line in lines) == 6
    assert not any("class_volume/one.py" in line for line in lines)
    assert [line for line in lines if "2 added" in line] == ["configs/class_volume/: 2 added (copied configs)"]
    assert lines[-1] == f"next: vlltr-plugin install '{root}'"
    assert len(lines) < 60
    assert main(["install", str(root)]) == 0
    assert (
        f"next: vlltr-plugin check configs/class_volume/imagenet_lt_r50_dv.py --checkout '{root}'"
        in (capsys.readouterr().out.splitlines()[-1])
    )
    (root / "configs" / "class_volume" / "one.py").unlink()
    assert main(["install", "--dry-run", str(root)]) == 0
    assert "configs/class_volume/: 1 added (copied configs)" in capsys.readouterr().out
    assert main(["uninstall", "--dry-run", str(root)]) == 0
    assert "configs/class_volume/: 1 removed (copied configs)" in capsys.readouterr().out


def test_an_anchor_error_ends_with_the_lines_to_insert(make_checkout, capsys):
    assert main(["install", str(make_checkout("x = 1\n"))]) == 2
    error = capsys.readouterr().err
    assert "main.py: expected one function `main`" in error.splitlines()[0]
    assert "**reweight_hook.checkpoint()," in error.splitlines()[-1]


def test_the_module_runs_and_survives_a_narrow_encoding(make_checkout, host):
    root = make_checkout(host.replace("import json\n", "# größer\nimport json\n"))
    command = [sys.executable, "-m", "vlltr_plugin", "install", str(root)]
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(vlltr_plugin.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "gr\\xf6\\xdfer" in done.stdout
