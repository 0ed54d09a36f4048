"""What the user names as a run, and the names that runs get."""

import math

import pytest
from report_lines import log_line

from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import load, load_all


def test_best_epoch_is_the_first_of_the_highest_overall_accuracy(write_run):
    lines = [log_line(epoch, acc1=value, low=epoch) for epoch, value in enumerate([1.0, 7.0, 7.0, 3.0])]
    (run,) = load(str(write_run("a", lines))).runs
    assert (run.best_epoch, run.last_epoch) == (1, 3)
    assert [run.line(stage)["test_low"] for stage in ("best", "last")] == [1.0, 3.0]
    assert run.line("test") is None


def test_an_epoch_without_a_test_is_not_the_best(write_run):
    lines = [log_line(epoch, acc1=value) for epoch, value in enumerate([math.nan, 60.0, 70.0, 65.0])]
    run = load(str(write_run("a", lines))).runs[0]
    assert (run.best_epoch, run.line("best")["test_acc1"], run.last_epoch) == (2, 70.0, 3)
    never = load(str(write_run("b", [log_line(epoch, acc1=math.nan) for epoch in range(2)]))).runs[0]
    assert (never.best_epoch, never.line("best")) == (None, None)


def test_the_names_of_many_seeds_are_not_taken_for_a_path(write_run, monkeypatch):
    folder = write_run("x").parent
    monkeypatch.chdir(folder)
    names = [write_run(f"a_run_of_a_rather_long_name_{seed:03}").name for seed in range(30)]
    (method,) = load_all([f"plain={','.join(names)}"])
    assert (method.name, len(method.runs)) == ("plain", 30)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["one/dv", "two/dv/log.txt"], ["one/dv", "two/dv"]),
        (["one/dv", "two/dv", "x/one/dv"], ["{root}/one/dv", "two/dv", "x/one/dv"]),
        (["one/dv", "one/dv"], ["dv", "dv (2)"]),
        (["dv=one/a,one/b", "two/dv"], ["dv", "two/dv"]),
    ],
)
def test_runs_of_one_name_are_told_apart(write_run, monkeypatch, folders, names):
    root = write_run("one/a").parent.parent
    for folder in ("one/b", "one/dv", "two/dv", "x/one/dv"):
        write_run(folder)
    monkeypatch.chdir(root)
    assert [run.name for run in load_all(folders)] == [name.format(root=root.name) for name in names]


@pytest.mark.parametrize("text", ["=a", "name=", "name=,"])
def test_a_name_without_folders_is_refused(text):
    with pytest.raises(ReportError, match="name=folder1,folder2"):
        load(text)


def test_a_folder_given_twice_is_no_second_seed(write_run):
    folder = write_run("a")
    with pytest.raises(ReportError, match="given twice"):
        load(f"m={folder},{folder}/log.txt")


def test_a_folder_may_have_an_equals_sign_in_its_name(write_run):
    assert load(str(write_run("lr=0.1"))).name == "lr=0.1"
