"""What the user names as a run, and the names that runs get."""

import math

import pytest
from report_lines import log_line

from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import load, load_all


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([1.0, 7.0, 7.0, 3.0], 1), ([math.nan, 60.0, 70.0, 65.0], 2), ([math.nan, math.nan], None)],
)
def test_best_epoch_is_the_first_of_the_highest_overall_accuracy(write_run, accuracies, best):
    lines = [log_line(epoch, acc1=value, low=epoch) for epoch, value in enumerate(accuracies)]
    (run,) = load(str(write_run("a", lines))).runs
    assert (run.best_epoch, run.last_epoch) == (best, len(accuracies) - 1)
    assert run.line("best") == (None if best is None else lines[best])
    assert run.line("last")["test_low"] == len(accuracies) - 1
    assert run.line("test") is None


def test_a_long_list_of_seeds_is_not_read_as_a_path(write_run, monkeypatch):
    names = [write_run(f"a_run_of_a_rather_long_name_{seed:03}").name for seed in range(30)]
    monkeypatch.chdir(write_run("x").parent)
    (method,) = load_all([f"plain={','.join(names)}"])
    assert (method.name, len(method.runs)) == ("plain", 30)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["one/dv", "two/dv/log.txt"], ["one/dv", "two/dv"]),
        (["one/dv", "two/dv", "x/one/dv"], ["{root}/one/dv", "two/dv", "x/one/dv"]),
        (["one/dv", "one/dv"], ["dv", "dv (2)"]),
        (["dv=one/a,one/b", "two/dv"], ["dv", "two/dv"]),
        (["lr=0.1", "one/a"], ["lr=0.1", "a"]),  # a folder with an equals sign
    ],
)
def test_runs_with_equal_names_get_unique_names(write_run, monkeypatch, folders, names):
    root = write_run("one/a").parent.parent
    for folder in ("one/b", "one/dv", "two/dv", "x/one/dv", "lr=0.1"):
        write_run(folder)
    monkeypatch.chdir(root)
    assert [run.name for run in load_all(folders)] == [name.format(root=root.name) for name in names]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=a", "name=folder1,folder2"),
        ("name=", "name=folder1,folder2"),
        ("name=,", "name=folder1,folder2"),
        ("m={folder},{folder}/log.txt", "given twice"),
    ],
)
def test_a_name_without_folders_and_a_folder_given_twice_are_refused(write_run, text, message):
    with pytest.raises(ReportError, match=message):
        load(text.format(folder=write_run("a")))
