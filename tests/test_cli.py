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


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_has_a_help(name):
    actions = [action for action in PARSERS[name]._actions if not isinstance(action, argparse._SubParsersAction)]
    without = [action.option_strings or action.dest for action in actions if not (action.help or "").strip()]
    assert without == []
    assert PARSERS[name].format_help()


def test_every_command_is_listed_with_a_line():
    (commands,) = (a for a in PARSERS["vlltr-plugin"]._actions if isinstance(a, argparse._SubParsersAction))
    assert {choice.dest for choice in commands._choices_actions if choice.help} == set(commands.choices)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["compare", "--help"], ["install"], []])
def test_help_and_wrong_arguments_import_no_torch(arguments):
    code = (
        "import sys; from vlltr_plugin.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_mistyped_option_shows_the_usage_of_its_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "run", "other", "--refrence", "imagenet_lt"])
    shown = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "usage: vlltr-plugin compare" in shown
    assert "--reference DATA/MODEL" in shown
    assert "vlltr-plugin compare: error: unrecognized arguments: --refrence imagenet_lt" in shown


def test_help_of_check_and_evaluate_names_the_hosts_without_a_config():
    check, evaluate = (
        " ".join(PARSERS[f"vlltr-plugin {name}"].format_help().split()) for name in ("check", "evaluate")
    )
    assert "none for LIFT and timm" in check
    assert "none for LIFT and timm" in evaluate
    assert "command-line arguments of main.py (timm: train.py)" in check


def test_compare_of_logs_imports_no_torch(tmp_path):
    for name, accuracy in (("baseline", 50.0), ("class_volume", 52.0)):
        tmp_path.joinpath(name).mkdir()
        line = {"train_loss": 1.0, "test_acc1": accuracy, "test_loss": 2.0, "epoch": 0, "n_parameters": 7}
        tmp_path.joinpath(name, "log.txt").write_text(json.dumps(line) + "\n")
    code = "import sys; from vlltr_plugin.cli import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    command = [sys.executable, "-c", code, "compare", str(tmp_path / "baseline"), str(tmp_path / "class_volume")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "+2.0" in done.stdout


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "uninstall" in capsys.readouterr().err


def test_wrong_arguments_exit_with_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["install"])
    assert caught.value.code == 2


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vlltr-plugin {__version__}\n"


def test_demo_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr("vlltr_plugin.demo.run_demo", lambda **options: calls.append(options))
    assert main(["demo"]) == 0
    assert main(["demo", "--out", "x", "--epochs", "3", "--keep"]) == 0
    assert calls == [{"out": Path("vlltr-demo"), "keep": False}, {"out": Path("x"), "epochs": 3, "keep": True}]

    def refuse(**options: object) -> None:
        raise ValueError("Expected `epochs` of at least 1")

    monkeypatch.setattr("vlltr_plugin.demo.run_demo", refuse)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "vlltr-plugin: error: Expected `epochs` of at least 1\n"
