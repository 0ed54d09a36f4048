"""The numbers of a comparison against numpy, and its edge cases."""

import math

import numpy as np
import pytest
from report_lines import log_line

from vlltr_plugin import RunRecorder
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.host import GROUP_METRICS, HOST, OVERALL
from vlltr_plugin.report.compare import find_reference, load, load_all, write_report
from vlltr_plugin.report.compare.comparison import (
    COSTS,
    compare,
    costs_of,
    curve,
    empty_groups,
    epoch_seconds,
    fill_times,
    metrics_of,
    summary_of,
)
from vlltr_plugin.report.compare.tables import validation_table

BY_NAME = {metric.name: metric for metric in metrics_of(HOST)}
FEW = BY_NAME["few"]


def test_mean_sd_and_standard_error_over_seeds_equal_numpys(write_run):
    ours, theirs = [50.0, 53.0, 55.5], [40.0, 41.0]
    for name, values in (("a", theirs), ("b", ours)):
        for number, value in enumerate(values):
            write_run(f"{name}{number}", [log_line(0), log_line(None, low=value)])
    folder = write_run("x").parent
    runs = load_all([f"base={folder}/a0,{folder}/a1", f"dv={folder}/b0,{folder}/b1,{folder}/b2"])
    comparison = compare(runs)
    summary = summary_of(runs[1], "test", FEW)
    assert (summary.mean, summary.sd, summary.n) == pytest.approx((np.mean(ours), np.std(ours, ddof=1), 3))
    difference = comparison.difference(runs[1].name, "test", FEW)
    assert difference.value == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert difference.se == pytest.approx(np.sqrt(np.var(ours, ddof=1) / 3 + np.var(theirs, ddof=1) / 2))
    assert comparison.difference(runs[0].name, "test", FEW) is None


def test_one_seed_has_no_scatter(write_run):
    runs = [load(str(write_run(name))) for name in "ab"]
    assert summary_of(runs[0], "last", OVERALL).sd is None
    assert compare(runs).difference(runs[1].name, "last", OVERALL).se is None


@pytest.mark.parametrize("values", [(math.nan, 50.0), (50.0, math.inf), (-math.inf, math.inf), (math.nan, math.nan)])
def test_seeds_with_a_number_that_is_not_finite_are_compared_all_the_same(write_run, tmp_path, values):
    for number, value in enumerate(values):
        write_run(f"b{number}", [log_line(0, low=value, loss=value), log_line(None, acc1=50.0 + number, low=value)])
    runs = load_all([str(write_run("a")), f"dv={tmp_path}/b0,{tmp_path}/b1"])
    summary = summary_of(runs[1], "test", FEW)
    assert not math.isfinite(summary.mean)
    assert math.isnan(summary.sd)
    comparison = compare(runs)
    assert comparison.difference("dv", "test", OVERALL).value == pytest.approx(50.5 - log_line(None)["test_acc1"])
    assert (tmp_path / "report/report.md") in write_report(comparison, tmp_path / "report")


def test_best_epoch_is_the_first_of_the_highest_overall_accuracy(write_run):
    lines = [log_line(epoch, acc1=value, low=epoch) for epoch, value in enumerate([1.0, 7.0, 7.0, 3.0])]
    run = load(str(write_run("a", lines)))
    assert (run.runs[0].best_epoch, run.runs[0].last_epoch) == (1, 3)
    assert [summary_of(run, stage, FEW).mean for stage in ("best", "last")] == [1.0, 3.0]
    assert summary_of(run, "test", FEW) is None


def test_an_epoch_without_a_test_is_not_the_best(write_run):
    lines = [log_line(epoch, acc1=value) for epoch, value in enumerate([math.nan, 60.0, 70.0, 65.0])]
    run = load(str(write_run("a", lines))).runs[0]
    assert (run.best_epoch, run.line("best")[OVERALL.key], run.last_epoch) == (2, 70.0, 3)
    never = load(str(write_run("b", [log_line(epoch, acc1=math.nan) for epoch in range(2)]))).runs[0]
    assert (never.best_epoch, never.line("best")) == (None, None)


def test_the_names_of_many_seeds_are_not_taken_for_a_path(write_run, monkeypatch):
    folder = write_run("x").parent
    monkeypatch.chdir(folder)
    names = [write_run(f"a_run_of_a_rather_long_name_{seed:03}").name for seed in range(30)]
    (method,) = load_all([f"plain={','.join(names)}"])
    assert (method.name, len(method.runs)) == ("plain", 30)


def test_a_resumed_run_is_what_it_is_now_and_not_what_was_abandoned(write_run):
    """Epochs 0 to 9, then resumed at 5 and stopped at 6; epoch 9 was the best and the last."""
    lines = [log_line(epoch, acc1=50.0 + epoch) for epoch in range(10)]
    lines += [log_line(epoch, acc1=40.0 + epoch) for epoch in (5, 6)]
    run = load(str(write_run("a", lines, {}, stdout(*[10] * 10) + RESUMED)))
    assert (run.runs[0].best_epoch, run.runs[0].last_epoch) == (4, 6)
    assert [summary_of(run, stage, OVERALL).mean for stage in ("best", "last")] == [54.0, 46.0]
    assert list(curve(run, OVERALL)) == list(range(7))
    assert list(epoch_seconds(run)) == list(range(7))
    assert (costs_of(run.runs[0]).passes, costs_of(run.runs[0]).training) == (5 * 10 + 2 * 7, None)


def test_the_sign_is_run_minus_baseline(write_run):
    runs = [load(str(write_run(name, [log_line(None, acc1=value)]))) for name, value in (("a", 60.0), ("b", 58.0))]
    assert compare(runs).difference(runs[1].name, "test", OVERALL).value == -2.0


def test_a_curve_averages_the_seeds_that_have_the_epoch(write_run):
    folder = write_run("a", [log_line(0, acc1=1.0), log_line(1, acc1=2.0)]).parent
    write_run("b", [log_line(0, acc1=3.0)])
    values = curve(load(f"m={folder}/a,{folder}/b"), OVERALL)
    assert {epoch: (value.mean, value.n) for epoch, value in values.items()} == {0: (2.0, 2), 1: (2.0, 1)}


def test_a_group_is_empty_only_where_every_line_of_every_run_is_zero(write_run):
    zeros = {"5-shot": 0.0, "10-shot": 0.0}
    one = load(str(write_run("a", [log_line(0, **zeros), log_line(None, **zeros)])))
    other = load(str(write_run("b", [log_line(0, **zeros), log_line(None, **{"5-shot": 0.0, "10-shot": 0.5})])))
    assert [metric.name for metric in empty_groups([one], GROUP_METRICS)] == ["10-shot", "5-shot"]
    assert [metric.name for metric in empty_groups([one, other], GROUP_METRICS)] == ["5-shot"]


def test_in_a_recorded_run_0_percent_is_a_number(tmp_path):
    for name in "ab":
        RunRecorder(tmp_path / name, settings={"lr": 0.1}).end_epoch(0, overall=50.0, many=80.0, few=0.0)
    runs = load_all([str(tmp_path / name) for name in "ab"])
    comparison = compare(runs)
    assert comparison.empty == ()
    assert ("few-shot", "0.00", "0.00", "0.00  +0.00", "0.00  +0.00") in validation_table(comparison).rows


def test_runs_that_have_learnt_nothing_have_no_empty_groups(write_run):
    zeros = dict.fromkeys(("many", "median", "low", "5-shot", "10-shot"), 0.0)
    assert empty_groups([load(str(write_run("a", [log_line(0, **zeros)])))], GROUP_METRICS) == ()


def test_a_single_run_is_compared_with_the_published_baseline(write_run):
    run = load(str(write_run("a", [log_line(0), log_line(None, acc1=71.0, low=50.0)])))
    comparison = compare([run], find_reference("imagenet_lt/r50"))
    assert comparison.difference(run.name, "test", OVERALL).value == pytest.approx(71.0 - 69.9)
    assert comparison.difference(run.name, "test", FEW).value == pytest.approx(50.0 - 47.8)
    assert comparison.difference(run.name, "test", BY_NAME["5-shot"]) is None
    assert comparison.difference(run.name, "last", OVERALL) is None


def test_a_single_run_without_a_reference_is_refused(write_run):
    with pytest.raises(ReportError, match="name a second run or a reference"):
        compare([load(str(write_run("a")))])


RESUMED = "Namespace(epochs=2)\n" + "".join(f"Epoch: [{e}] Total time: 0:00:07 (1.0 s / it)\n" for e in (5, 6))


def stdout(*seconds):
    lines = [f"Epoch: [{epoch}] Total time: 0:00:{value:02d} (1.0 s / it)" for epoch, value in enumerate(seconds)]
    return "\n".join(["Namespace(epochs=2)", *lines, "Training time 0:01:00\n"])


def test_times_and_overhead(write_run):
    args = {"epochs": 2}
    re_weighted = [{**log_line(epoch), "train_reweight_seconds": 0.5 + epoch} for epoch in (0, 1)]
    base = load(str(write_run("base", None, args, stdout(10, 20))))
    run = load(str(write_run("dv", re_weighted, args, stdout(12, 24))))
    costs = costs_of(run.runs[0])
    assert (costs.training, costs.passes, costs.per_epoch, costs.reweight_per_epoch) == (60, 36, 18, 1.0)
    times = fill_times([base, run], base)
    percent = [times[run.name, cost.name].percent for cost in COSTS]
    assert percent == pytest.approx([0.0, 20.0, 20.0, 100 * 1.0 / 18])
    assert times[base.name, COSTS[0].name].percent is None


def test_the_sum_of_passes_needs_them_all(write_run):
    run = load(str(write_run("a", None, {}, stdout(10))))
    assert (costs_of(run.runs[0]).passes, costs_of(run.runs[0]).per_epoch) == (None, 10)


def test_runs_of_one_name_are_told_apart(write_run):
    folder = write_run("one/dv").parent.parent
    write_run("two/dv")
    assert [run.name for run in load_all([f"{folder}/one/dv", f"{folder}/two/dv/log.txt"])] == ["one/dv", "two/dv"]


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
