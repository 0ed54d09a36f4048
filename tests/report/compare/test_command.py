"""`vlltr-plugin compare` from the command line: what it prints, and how it fails."""

import argparse
import io
import os
import re
import sys

import pytest
import torch
from report_lines import OURS, SETTINGS, log_line
from rich.console import Console

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import find_reference, run_compare
from vlltr_plugin.report.tables import signed

PICTURES, TEXTS = ["accuracy.png", "groups.png"], ["report.csv", "report.json", "report.md"]


@pytest.fixture
def good(write_run):
    return write_run("good", None, SETTINGS)


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def spoil(write_run, how):
    """A run named `bad`, or the path of something in it, that cannot be used."""
    texts = {"empty": "", "garbage": '{"test_acc1": 1, "epoch": 0}\nTraceback\n'}
    args = {**SETTINGS, "data_set": "PLACES_LT"} if how == "other data set" else None
    folder = write_run("bad", texts.get(how), args)
    if how == "binary":
        (folder / "log.txt").write_bytes(bytes(range(256)) * 100)
    if how == "no log":
        (folder / "log.txt").unlink()
    if how == "hostile":
        torch.save({"args": argparse.Namespace(lr=Hostile(folder.parent / "mark"))}, folder / "checkpoint.pth")
    return folder / "nowhere" if how == "not there" else folder


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("how", ["empty", "garbage", "binary", "no log", "not there", "other data set", "hostile"])
def test_wrong_input_is_one_line_and_code_2_with_nothing_written_or_run(good, write_run, capfd, how, position):
    folder = good.parent
    runs = [str(good)]
    runs.insert(position, str(spoil(write_run, how)))
    before = sorted(folder.rglob("*"))
    assert main(["compare", *runs, "--out", str(folder / "out")]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vlltr-plugin: error: ")
    assert captured.err.count("\n") == 1
    assert str(folder / "bad") in captured.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reference", "cifar/r50"], "places_lt/vit16"),
        ([], "name a second run or a reference"),
        (["{good}", "--out", "{good}/log.txt"], "log.txt"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(good, capfd, arguments, said):
    assert main(["compare", str(good), *(text.format(good=good) for text in arguments)]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_tables_name_best_and_last_epoch_and_the_published_numbers(good, write_run, capfd):
    lines = [log_line(0, acc1=72.0, low=40.0) | OURS, log_line(1, acc1=71.0, low=50.0) | OURS]
    lines.append(log_line(None, acc1=70.5, low=48.0))
    other = write_run("dv", lines, {**SETTINGS, "reweight": {"type": "class_volume"}})
    assert main(["compare", str(good), str(other), "--reference", "imagenet_lt/r50"]) == 0
    printed = capfd.readouterr().out
    for text in ("best (0)", "last (1)", "70.3  +0.4"):
        assert text in printed
    rows = {line.split("│")[1].strip(): line for line in printed.splitlines() if line.startswith("│")}
    assert "1:36:13" in rows["training time of the run"]
    assert [cell.strip() for cell in rows["reweight"].split("│")[2:4]] == ["none", "class_volume"]
    assert "Not comparable: different settings (epochs)" in printed  # 2 here, 50 in the paper


def test_seeds_are_shown_as_mean_and_95_percent_interval(write_run, capfd):
    for name, value in (("a", 10.0), ("b", 20.0), ("c", 30.0), ("d", 5.0)):
        folder = write_run(name, [log_line(None, acc1=value)]).parent
    assert main(["compare", f"base={folder}/a,{folder}/b", f"dv={folder}/c,{folder}/d"]) == 0
    printed = capfd.readouterr().out
    assert "2 seeds, ± 95 %" in printed
    assert "15.00 ±63.53" in printed  # 12.706 * 7.07 / sqrt(2)
    difference = re.search(r"17\.50 ±158\.82  \+2\.50 ±(\d+\.\d\d)", printed)
    assert difference is not None
    assert 99.43 <= float(difference[1]) <= 1.008 * 99.43  # Welch: t at 1.312 degrees of freedom, by scipy
    assert "± is half of the 95 % interval of the mean (Student's t" in printed


def test_without_matplotlib_the_rest_is_written_and_the_extra_is_named(good, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = good.parent / "out"
    assert main(["compare", str(good), str(good), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == TEXTS
    assert "pip install 'vlltr-plugin[report]'" in capfd.readouterr().out
    assert "vlltr-plugin[report]" in (out / "report.md").read_text()


def test_a_second_report_replaces_the_first(good, capfd):
    out = good.parent / "out"
    for _ in range(2):
        assert main(["compare", str(good), str(good), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == PICTURES + TEXTS


def test_the_report_is_written_even_if_the_output_pipe_is_closed(good, tmp_path):
    class Closed(io.StringIO):
        def write(self, text):
            raise RuntimeError("closed")

    with pytest.raises(RuntimeError, match="closed"):
        run_compare([str(good), str(good)], out=tmp_path / "out", console=Console(file=Closed()))
    assert (tmp_path / "out" / "report.md").exists()


def test_two_folders_of_one_name_that_is_no_utf_8_keep_their_own_numbers(write_run, tmp_path, capfd):
    name = os.fsdecode(b"dv\xff")
    runs = [str(write_run(f"{kind}/{name}", [log_line(None, acc1=number)])) for kind, number in (("a", 41), ("b", 52))]
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    shown = capfd.readouterr().out
    for text in ("a/dv\\udcff", "b/dv\\udcff", "41.00", "52.00"):
        assert text in shown
    for file in ("report.md", "report.csv"):
        assert "b/dv\\udcff" in (tmp_path / "out" / file).read_text()


def test_a_zero_difference_is_shown_as_plus_zero_also_after_rounding():
    assert [signed(value, 2) for value in (0.0, -0.0, -0.004, -0.006)] == ["+0.00", "+0.00", "+0.00", "-0.01"]


@pytest.mark.parametrize(
    ("name", "overall", "few", "overhead"),  # overhead in percent as Table 6 prints it
    [
        ("imagenet_lt/r50", 70.3, 55.2, -4.2),
        ("imagenet_lt/vit16", 77.4, 64.9, 0.4),
        ("places_lt/r50", 48.7, 48.1, -4.9),
        ("places_lt/vit16", 50.8, 50.0, 0.7),
        ("inat2018/r50", 76.4, 76.4, 2.6),
        ("inat2018/vit16", 78.0, 77.1, 3.7),
        ("inat18/r50", 76.4, 76.4, 2.6),  # as the configs name it
    ],
)
def test_published_results_are_those_of_tables_5_and_6(name, overall, few, overhead):
    baseline, ours = find_reference(name).results.values()
    assert (ours["overall"], ours["few"]) == (overall, few)
    more = {key: ours[key] - baseline[key] for key in ("overall", "many", "medium", "few")}
    assert more["overall"] > 0 > more["many"]
    assert more["few"] > more["medium"] > 0
    assert round(100 * (ours["training_seconds"] / baseline["training_seconds"] - 1), 1) == overhead


@pytest.mark.parametrize("name", ["imagenet_lt", "imagenet_lt/", "r50", ""])
def test_other_names_are_refused_with_the_list(name):
    with pytest.raises(ReportError, match="places_lt/vit16"):
        find_reference(name)
