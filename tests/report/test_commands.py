"""What `compare`, `evaluate` and `inspect` share: outputs that cannot be written, odd names, missing libraries."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from report_lines import log_line, refused

from vlltr_plugin.cli import main

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

COMMANDS = {
    "compare": (["compare", "{log}", "{log}"], "report.md", "Final test (%)"),
    "evaluate": (["evaluate", "--logits", "{logits}"], "evaluation.json", "100 images, in percent"),
    "inspect": (["inspect", "{run}"], "epochs.png", "radii from"),
}


@pytest.fixture
def inputs(write_run, run, tmp_path) -> dict[str, Path]:
    labels = np.repeat(np.arange(4), 25)
    scores = np.random.default_rng(0).normal(size=(100, 4))
    np.savez(tmp_path / "logits.npz", logits=scores, labels=labels, counts=[120, 60, 30, 10])
    return {"log": write_run("log"), "logits": tmp_path / "logits.npz", "run": run, "out": tmp_path / "out"}


class Closed(io.StringIO):
    """An output that nobody reads any more."""

    def write(self, text: str) -> int:
        raise RuntimeError("closed")


def filled(command: str, inputs: dict[str, Path]) -> tuple[list[str], str, str]:
    arguments, last, title = COMMANDS[command]
    return [text.format(**inputs) for text in [*arguments, "--out", "{out}"]], last, title


@pytest.mark.parametrize("command", COMMANDS)
def test_files_are_written_even_if_the_output_pipe_is_closed(inputs, monkeypatch, command):
    arguments, last, _ = filled(command, inputs)
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(RuntimeError, match="closed"):
        main(arguments)
    assert (inputs["out"] / last).exists()


@pytest.mark.parametrize("command", ["evaluate", "inspect"])
def test_tables_are_printed_even_if_the_files_cannot_be_written(inputs, capsys, command):
    arguments, last, title = filled(command, inputs)
    (inputs["out"] / last).mkdir(parents=True)  # where a file should be
    assert main(arguments) == 2
    assert title in capsys.readouterr().out


def test_folders_and_files_whose_name_is_no_utf_8_are_shown_apart_and_drawn(inputs, write_run, tmp_path, capfd):
    name = os.fsdecode(b"dv\xff")
    runs = [str(write_run(f"{kind}/{name}", [log_line(None, acc1=number)])) for kind, number in (("a", 41), ("b", 52))]
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    shown = capfd.readouterr().out
    for text in ("a/dv\\udcff", "b/dv\\udcff", "41.00", "52.00"):
        assert text in shown
    for file in ("report.md", "report.csv"):
        assert "b/dv\\udcff" in (tmp_path / "out" / file).read_text()
    odd = inputs["logits"].rename(tmp_path / f"{name}.npz")
    assert main(["evaluate", "--logits", str(odd)]) == 0
    assert "dv\\udcff" in capfd.readouterr().out
    assert (odd.with_suffix("") / "tradeoff.png").exists()


def test_without_matplotlib_compare_and_inspect_print_tables_and_name_the_extra_of_pictures(
    inputs, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments, *_ = filled("compare", inputs)
    assert main(arguments) == 0
    assert sorted(path.name for path in inputs["out"].iterdir()) == ["report.csv", "report.json", "report.md"]
    assert "pip install 'vlltr-plugin[report]'" in capsys.readouterr().out
    assert "vlltr-plugin[report]" in (inputs["out"] / "report.md").read_text()
    assert main(["inspect", str(inputs["run"])]) == 0
    assert "[report]" in refused(capsys, tmp_path, "inspect", inputs["run"], "--out", tmp_path / "pictures")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "nope.pth"], "no file nope.pth"),
        (["evaluate", "."], "Expected a run's folder with checkpoint.pth"),
        (["evaluate", "x.pth", "--config", "nope.py"], "no file nope.py"),
        (["evaluate", "--logits", "nope.npz"], "nope.npz"),
        (["inspect", "nope", "--out", "out"], "nope is not there"),
        (["cifar-lt", "--results", "nope.jsonl", "--plot", "out.png"], "nope.jsonl"),
        (["compare", "nope", "nope", "--out", "out"], "nope"),
    ],
)
def test_missing_input_is_reported_before_missing_libraries(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pth").touch()
    for library in ("matplotlib", "torchmetrics"):
        monkeypatch.setitem(sys.modules, library, None)
    error = refused(capsys, tmp_path, *arguments)
    assert words in error
    assert "install" not in error
