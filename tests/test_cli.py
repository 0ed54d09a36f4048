"""The command line: every option has a help, `--help` and `compare` answer without torch, exit codes."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vlltr_plugin import __version__
from vlltr_plugin.cli import build_parser, main


def parsers(parser: argparse.ArgumentParser, name: str = "vlltr-plugin") -> dict[str, argparse.ArgumentParser]:
    """The parser and those of its commands, by name."""
    found = {name: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, below in action.choices.items():
                found |= parsers(below, f"{name} {command}")
    return found


PARSERS = parsers(build_parser())


def test_every_option_and_command_has_a_help():
    for name, parser in PARSERS.items():
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert {choice.dest for choice in action._choices_actions if choice.help} == set(action.choices)
            else:
                assert (action.help or "").strip(), (name, action.dest)


def test_help_of_check_and_evaluate_names_the_hosts_without_a_config():
    check, evaluate = (" ".join(PARSERS[f"vlltr-plugin {one}"].format_help().split()) for one in ("check", "evaluate"))
    assert "none for LIFT and timm" in check
    assert "none for LIFT and timm" in evaluate
    assert "command-line arguments of main.py (timm: train.py)" in check


def without(modules: set[str], *arguments: str) -> subprocess.CompletedProcess:
    """The command line in a process of its own, which must not import any of some modules."""
    code = (
        "import sys; from vlltr_plugin.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"assert not {modules} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["compare", "--help"], ["install"], []])
def test_help_and_wrong_arguments_import_no_torch(arguments):
    without({"torch", "numpy", "timm"}, *arguments)


def test_compare_of_logs_imports_no_torch(tmp_path):
    for name, accuracy in (("baseline", 50.0), ("class_volume", 52.0)):
        tmp_path.joinpath(name).mkdir()
        line = {"train_loss": 1.0, "test_acc1": accuracy, "test_loss": 2.0, "epoch": 0, "n_parameters": 7}
        tmp_path.joinpath(name, "log.txt").write_text(json.dumps(line) + "\n")
    assert "+2.0" in without({"torch"}, "compare", str(tmp_path / "baseline"), str(tmp_path / "class_volume")).stdout


def test_a_mistyped_option_shows_the_usage_of_its_command_and_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "run", "other", "--refrence", "imagenet_lt"])
    shown = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "usage: vlltr-plugin compare" in shown
    assert "--reference DATA/MODEL" in shown
    assert "vlltr-plugin compare: error: unrecognized arguments: --refrence imagenet_lt" in shown


def test_no_command_prints_the_help_and_version_that_of_the_package(capsys):
    assert main([]) == 2
    assert "uninstall" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vlltr-plugin {__version__}\n"


def test_demo_passes_its_options_on(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("vlltr_plugin.demo.run_demo", lambda **options: calls.append(options))
    assert main(["demo"]) == 0
    assert main(["demo", "--out", "x", "--epochs", "3", "--keep"]) == 0
    assert calls == [{"out": Path("vlltr-demo"), "keep": False}, {"out": Path("x"), "epochs": 3, "keep": True}]


def test_what_demo_refuses_is_one_line(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "runs"), "--epochs", "0"]) == 2
    assert capsys.readouterr().err.startswith("vlltr-plugin: error: Expected `epochs` of at least 1")
