"""`vlltr-plugin compare` from the command line: what it prints, and how it fails."""

import argparse

import pytest
import torch
from hostile import Hostile
from report_lines import OURS, SETTINGS, log_line, refused

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import find_reference
from vlltr_plugin.report.tables import signed


@pytest.fixture
def good(write_run):
    return write_run("good", None, SETTINGS)


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
    runs = [good]
    runs.insert(position, spoil(write_run, how))
    assert str(good.parent / "bad") in refused(capfd, good.parent, "compare", *runs, "--out", good.parent / "out")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reference", "cifar/r50"], "places_lt/vit16"),
        ([], "name a second run or a reference"),
        (["{good}", "--out", "{good}/log.txt"], "log.txt"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(good, capfd, arguments, said):
    given = [text.format(good=good) for text in arguments]
    assert said in refused(capfd, good.parent, "compare", good, *given)


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


def test_a_second_report_replaces_the_first(good):
    out = good.parent / "out"
    for _ in range(2):
        assert main(["compare", str(good), str(good), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"accuracy.png", "groups.png"} | {
        f"report.{suffix}" for suffix in ("csv", "json", "md")
    }


def test_a_zero_difference_is_shown_as_plus_zero_also_after_rounding():
    assert [signed(value, 2) for value in (0.0, -0.0, -0.004, -0.006)] == ["+0.00", "+0.00", "+0.00", "-0.01"]


def test_a_published_result_has_its_time_in_seconds_and_is_also_found_by_the_data_sets_name_in_configs():
    reference = find_reference("inat2018/r50")
    baseline, ours = reference.results.values()
    assert (ours["overall"], ours["few"]) == (76.4, 76.4)
    assert round(100 * (ours["training_seconds"] / baseline["training_seconds"] - 1), 1) == 2.6  # as Table 6 prints it
    assert find_reference("inat18/r50") == reference


@pytest.mark.parametrize("name", ["imagenet_lt", "imagenet_lt/", "r50", ""])
def test_other_names_are_refused_with_the_list(name):
    with pytest.raises(ReportError, match="places_lt/vit16"):
        find_reference(name)
