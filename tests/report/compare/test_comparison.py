"""The numbers of a comparison, and its edge cases."""

import math

import pytest
from report_lines import compared, log_line

from vlltr_plugin import RunRecorder
from vlltr_plugin.hosts.vl_ltr.host import HOST, OVERALL
from vlltr_plugin.report.compare import compare, find_reference, load, write_report
from vlltr_plugin.report.compare.comparison import COSTS, PASS_SECONDS, costs_of
from vlltr_plugin.report.compare.files import markdown_text
from vlltr_plugin.report.compare.tables import notes_of, tables_of

BY_NAME = {metric.name: metric for metric in HOST.metrics}
FEW = BY_NAME["few"]


def test_seeds_with_a_number_that_is_not_finite_are_compared_all_the_same(write_run, tmp_path):
    for number, value in enumerate((math.nan, math.inf)):
        write_run(f"b{number}", [log_line(0, low=value, loss=value), log_line(None, acc1=50.0 + number, low=value)])
    comparison = compared(write_run("a"), f"dv={tmp_path}/b0,{tmp_path}/b1")
    assert math.isnan(comparison.summary("dv", "test", FEW).mean)
    assert comparison.difference("dv", "test", OVERALL).value == pytest.approx(50.5 - log_line(None)["test_acc1"])
    assert (tmp_path / "report/report.md") in write_report(comparison, tmp_path / "report")


def stdout(*seconds, first=0, end=""):
    """What the host prints: its arguments and the time of each epoch's training pass."""
    lines = [
        f"Epoch: [{epoch}] Total time: 0:00:{value:02d} (1.0 s / it)" for epoch, value in enumerate(seconds, first)
    ]
    return "\n".join(["Namespace(epochs=2)", *lines, end])


def test_a_resumed_run_excludes_its_abandoned_epochs(write_run):
    """Epochs 0 to 9, then resumed at 5 and stopped at 6; epoch 9 was the best and the last."""
    lines = [log_line(epoch, acc1=50.0 + epoch) for epoch in range(10)]
    lines += [log_line(epoch, acc1=40.0 + epoch) for epoch in (5, 6)]
    printed = stdout(*[10] * 10, end="Training time 0:01:00\n") + stdout(7, 7, first=5)
    comparison = compared(write_run("base"), write_run("a", lines, {}, printed))
    (run,) = comparison.methods[1].runs
    assert (run.best_epoch, run.last_epoch) == (4, 6)
    assert [comparison.summary("a", stage, OVERALL).mean for stage in ("best", "last")] == [54.0, 46.0]
    assert [list(comparison.frame.over_epochs("a", name)) for name in ("overall", PASS_SECONDS)] == [[*range(7)]] * 2
    assert (costs_of(run)["passes"], costs_of(run)["training"]) == (5 * 10 + 2 * 7, None)


def test_a_curve_averages_the_seeds_that_have_the_epoch(write_run):
    folder = write_run("a", [log_line(0, acc1=1.0), log_line(1, acc1=2.0)]).parent
    comparison = compared(f"m={folder}/a,{write_run('b', [log_line(0, acc1=3.0)])}", write_run("c"))
    values = comparison.frame.over_epochs("m", "overall")
    assert {epoch: (value.mean, value.n) for epoch, value in values.items()} == {0: (2.0, 2), 1: (2.0, 1)}


def test_a_name_of_two_lines_has_one_line_as_heading(write_run):
    text = markdown_text(compared(write_run("base"), write_run("two\nlines")), [], "")
    assert text.splitlines()[0] == "# Comparison of two lines and base"


def test_a_mean_over_fewer_seeds_is_noted(write_run):
    without = {name: value for name, value in log_line(1).items() if name != "test_acc1"}
    write_run("a", [log_line(0), log_line(1), log_line(None)])
    folder = write_run("b", [log_line(0), without]).parent
    notes = notes_of(compared(write_run("base"), f"m={folder}/a,{folder}/b"))
    assert "Only 1 of 2 seeds of m have a final test." in notes
    assert "Not all seeds of m have each number of the last epoch: overall top-1 (1 of 2)." in notes
    assert not [note for note in notes if "the best epoch" in note and "Not all" in note]


def test_a_group_is_empty_only_where_every_line_of_every_run_is_zero_and_others_are_not(write_run):
    zeros = {"5-shot": 0.0, "10-shot": 0.0}
    runs = [write_run(name, [log_line(0, **zeros), log_line(None, **zeros)]) for name in "ab"]
    some = write_run("c", [log_line(0, **zeros), log_line(None, **{"5-shot": 0.0, "10-shot": 0.5})])
    assert [metric.name for metric in compared(*runs).empty] == ["10-shot", "5-shot"]
    assert [metric.name for metric in compared(*runs, some).empty] == ["5-shot"]
    nothing_learnt = dict.fromkeys(("many", "median", "low"), 0.0) | zeros
    assert compared(*(write_run(name, [log_line(0, **nothing_learnt)]) for name in "de")).empty == ()


def test_in_a_recorded_run_0_percent_is_a_number(tmp_path):
    for name in "ab":
        RunRecorder(tmp_path / name, settings={"lr": 0.1}).end_epoch(0, overall=50.0, many=80.0, few=0.0)
    comparison = compared(tmp_path / "a", tmp_path / "b")
    (table,) = (one for one in tables_of(comparison) if one.title == "Evaluation accuracy (%), best and last epoch")
    assert ("few-shot", "0.00", "0.00", "0.00  +0.00", "0.00  +0.00") in table.rows


def test_a_single_run_is_compared_with_the_published_baseline(write_run):
    run = load(str(write_run("a", [log_line(0), log_line(None, acc1=71.0, low=50.0)])))
    comparison = compare([run], find_reference("imagenet_lt/r50"))
    assert comparison.difference(run.name, "test", OVERALL).value == pytest.approx(71.0 - 69.9)
    assert comparison.difference(run.name, "test", FEW).value == pytest.approx(50.0 - 47.8)
    assert comparison.difference(run.name, "test", BY_NAME["5-shot"]) is None
    assert comparison.difference(run.name, "last", OVERALL) is None


def test_times_and_overhead(write_run):
    args, end = {"epochs": 2}, "Training time 0:01:00\n"
    re_weighted = [{**log_line(epoch), "train_reweight_seconds": 0.5 + epoch} for epoch in (0, 1)]
    base = write_run("base", None, args, stdout(10, 20, end=end))
    comparison = compared(base, write_run("dv", re_weighted, args, stdout(12, 24, end=end)))
    assert list(costs_of(comparison.runs[1]).values()) == [60, 36, 18, 1.0]
    assert [comparison.time("dv", cost)[1] for cost in COSTS] == pytest.approx([0.0, 20.0, 20.0, 100 * 1.0 / 18])
    assert comparison.time("base", "training")[1] is None
    (part,) = load(str(write_run("part", None, {}, stdout(10, end=end)))).runs  # the sum of passes needs them all
    assert (costs_of(part)["passes"], costs_of(part)["per_epoch"]) == (None, 10)
