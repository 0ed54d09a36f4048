"""`compare` takes the evaluations of `evaluate` beside logs, and puts runs on their baseline's trade-off curve."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from report_lines import SETTINGS, compared, log_line
from rich.console import Console

from vlltr_plugin.cli import main
from vlltr_plugin.core.shot_groups import convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import compare, find_reference, load, run_compare
from vlltr_plugin.report.compare.tables import tables_of
from vlltr_plugin.report.evaluate.evaluation import FORMAT, evaluate_predictions
from vlltr_plugin.report.tradeoff import place, trade_off
from vlltr_plugin.report.tradeoff.predictions import Predictions
from vlltr_plugin.runs.files import sha256

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

COUNTS = np.array([300, 150, 60, 30, 8, 3])
LABELS = np.repeat(np.arange(6), 40)
HERE = "chosen on the test set itself, so slightly optimistic"


@pytest.fixture
def write_evaluation(tmp_path):
    """Writes an evaluation of two branches on six images; its folder."""

    def write(name, groups="upstream", **changes):
        rules = {"mixture": [0, 0, 1, 1, 2, 0], "sum": [0, 0, 1, 0, 0, 0], "visual": [0] * 6}
        rules["image_text"] = labels = [0, 0, 1, 1, 2, 2]
        by_rule = {
            rule: Predictions(np.array(top1), np.ones(6, bool), np.full(6, 0.5), np.zeros(6))
            for rule, top1 in rules.items()
        }
        own = tmp_path / name / "checkpoint.pth"
        content = {
            "format": FORMAT,
            "host": "vl-ltr",
            "trade_off": {"groups": groups, "rules": {}},  # without its file
            "checkpoint": {"file": str(own), "sha256": sha256(own) if own.exists() else "", "epoch": 9},
            "data_set": "IMNET_LT",
            "split": "test",
            "labels_sha256": "abc",
            "images": 6,
            "split_images": 6,
            "classes": 1000,
            "settings": {"model": "LGR_r50"},
        }
        counts = np.array([200, 50, 4])
        content |= evaluate_predictions(np.array(labels), by_rule, counts, groups=convention_of(groups)) | changes
        folder = tmp_path / name / "evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps(content))
        return folder

    return write


def means(comparison, name):
    found = {m.name: comparison.summary(name, "test", m) for m in comparison.metrics if "top5" not in m.name}
    return {metric: round(summary.mean, 2) for metric, summary in found.items() if summary}


def test_an_evaluation_stands_beside_a_log(write_evaluation, write_run):
    base = write_run("base", [log_line(0), log_line(None, low=20.0)], SETTINGS)
    comparison = compared(base, write_evaluation("dv"))
    assert means(comparison, "dv") == {
        "overall": 83.33,
        "visual": 33.33,
        "image_text": 100.0,
        "many": 100.0,
        "medium": 50.0,
        "few": 0.0,
        "10-shot": 0.0,
        "5-shot": 0.0,
        "macro": 83.33,
        "harmonic": 75.0,
        "ece": 33.33,
    }
    (few,) = (metric for metric in comparison.metrics if metric.name == "few")
    assert comparison.difference("dv", "test", few).value == -20.0
    assert comparison.verdict.unknown == ("dv",)
    assert tables_of(comparison)[0].title == "Final test (%)"  # an evaluation may be of any epoch


def test_a_group_at_0_percent_in_evaluations_is_a_number_and_one_without_images_has_none(write_evaluation, write_run):
    runs = [write_evaluation(name) for name in ("base", "dv")]
    comparison = compared(*runs)
    assert comparison.empty == ()
    (few,) = (row for row in tables_of(comparison)[0].rows if row[0] == "few-shot (<= 20)")
    assert few[1:] == ("0.00", "0.00  +0.00")
    zeros = {"low": 0.0, "10-shot": 0.0, "5-shot": 0.0}
    log = write_run("log", [log_line(0, **zeros), log_line(None, **zeros)], SETTINGS)
    assert compared(log, runs[1]).empty == ()  # the evaluation knows that there are images
    found = means(compared(*(write_evaluation(name, host_log={"acc1": 50.0, "many": None}) for name in "ab")), "b")
    assert found["overall"] == 50.0
    assert "many" not in found


def test_the_checkpoint_beside_it_tells_the_settings(write_evaluation, write_run):
    runs = [write_run("b", None, SETTINGS), write_run("dv", None, {**SETTINGS, "lr": 7.0})]
    comparison = compared(runs[0], write_evaluation("dv") / "evaluation.json")
    assert comparison.methods[1].name == "dv"
    assert {setting.name: setting.values for setting in comparison.verdict.differing} == {"lr": ("0.001", "7.0")}


def test_only_evaluations_of_the_same_images_stand_beside_each_other_and_whole_tests_beside_logs(
    write_evaluation, write_run
):
    log = write_run("base", None, SETTINGS)
    val, same = (write_evaluation(name, split="val") for name in ("val", "same"))
    part = write_evaluation("part", split_images=7)
    other = write_evaluation("other", split="val", labels_sha256="other")
    whole = write_evaluation("whole")
    for pair in ([log, val], [val, log], [log, part], [part, log], [val, other], [val, whole]):
        with pytest.raises(ReportError, match="not comparable"):
            compared(*pair)
    assert tables_of(compared(val, same))[0].title == "Evaluation (%), validation split"


def test_a_host_s_own_groups_are_kept_unless_others_are_asked_for(write_evaluation):
    """LIFT takes the groups of its CIFAR-100 sets from other class counts than the run's."""
    own = {"overall": 50.0, "many": 38.0, "medium": 20.0, "few": 11.0, "macro": 23.0, "harmonic": 9.0}
    for groups, expected in (("others", own), ("50,30", {"overall": 50.0, "many": 75.0, "few": 0.0})):
        settings = {"host": "lift", "host_log": own, "data_set": "CIFAR100_IR10"}
        pair = (write_evaluation(f"{name}{groups}", groups, **settings) for name in "ab")
        found = means(compared(*pair), f"b{groups}")
        names = ("overall", "many", "medium", "few")
        assert {name: found[name] for name in names if name in found} == {
            name: expected[name] for name in names if name in expected
        }


def test_settings_are_not_those_of_another_run_in_whose_folder_the_evaluation_lies(write_evaluation, write_run):
    plain, other = write_run("plain", None, SETTINGS), write_run("dv", None, {**SETTINGS, "lr": 7.0})
    digest = sha256(plain / "checkpoint.pth")
    of_plain = {"file": str(plain / "checkpoint.pth"), "sha256": digest, "epoch": 1}
    folder = write_evaluation("dv", checkpoint=of_plain)
    comparison = compared(plain, folder)
    assert comparison.verdict.comparable is None
    assert "which is not of the run in" in comparison.warnings[0]
    shutil.copytree(plain, other.parent / "moved")  # a copy of the run that was evaluated
    comparison = compared(plain, write_evaluation("moved", checkpoint=of_plain))
    assert comparison.verdict.comparable
    assert not comparison.warnings


def test_a_run_that_was_trained_anew_is_not_the_one_that_was_evaluated(write_evaluation, write_run):
    base, run = (write_run(name, None, SETTINGS) for name in ("base", "run"))
    folder = write_evaluation("run")
    assert compared(base, folder).verdict.comparable
    torch.save({"args": argparse.Namespace(**SETTINGS | {"lr": 5.0}), "model": {}}, run / "checkpoint.pth")
    comparison = compared(base, folder)
    assert comparison.verdict.comparable is None
    assert "which is not of the run in" in comparison.warnings[0]


def test_a_run_and_its_evaluation_are_no_two_seeds(write_evaluation, write_run):
    run = write_run("run", None, SETTINGS)
    with pytest.raises(ReportError, match="given twice"):
        load(f"m={run},{write_evaluation('run')}")
    assert len(load(f"m={write_evaluation('a')},{write_evaluation('b')}").runs) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"format": "else"}', json.dumps({"format": FORMAT}), "[" * 100_000])
def test_an_invalid_evaluation_gives_a_one_line_error(tmp_path, text):
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(ReportError, match="expected") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


def logits(lean, seed):
    """Right more often than not, leaning to large classes."""
    noise = np.random.default_rng(seed).normal(size=(len(LABELS), 6)) + lean * np.log(COUNTS)
    noise[np.arange(len(LABELS)), LABELS] += 3 if lean == 1 else 2
    return noise


def curve(lean, seed):
    return trade_off(logits(lean, seed), LABELS, COUNTS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Folders of evaluations: base, two seeds of a run, one with validation logits, one without many-shot classes."""
    folder = tmp_path_factory.mktemp("evaluated")
    for name, given in {
        "base": {"logits": logits(1.0, 0)},
        "run1": {"logits": logits(0.4, 1)},
        "run2": {"logits": logits(0.4, 2)},
        "chosen": {"logits": logits(0.4, 3), "val_logits": logits(0.5, 9), "val_labels": LABELS},
        "small": {"logits": logits(0.4, 4), "counts": np.full(6, 50)},
        "other": {"logits": logits(0.4, 5), "labels": LABELS[::-1].copy()},
    }.items():
        np.savez(folder / f"{name}.npz", **({"labels": LABELS, "counts": COUNTS} | given))
        assert main(["evaluate", "--logits", str(folder / f"{name}.npz")]) == 0
    return folder


def report(evaluated, out, *runs):
    texts = [run.format(evaluated) for run in runs]
    with (out / "printed").open("w") as file:
        run_compare(texts, out=out, console=Console(file=file, width=400))
    return json.loads((out / "report.json").read_text()), (out / "printed").read_text()


def test_each_run_is_placed_as_trained_and_at_its_chosen_tau(evaluated, tmp_path):
    content, printed = report(evaluated, tmp_path, "{}/base", "{}/chosen")
    base, run, tau = curve(1.0, 0), curve(0.4, 3), curve(0.5, 9).best().tau
    assert tau > 0
    rows = content["trade_off"]["rows"]
    assert [(row["run"], row["tau"], row["chosen"]) for row in rows] == [
        ("base", 0, None),
        ("base", base.best().tau, HERE),
        ("chosen", 0, None),
        ("chosen", tau, "chosen on the validation split"),
    ]
    assert [row["placement"] for row in rows[:2]] == [None, None]
    for row, at in zip(rows[2:], (0, tau), strict=True):
        expected = place(run, base, at, names=("chosen", "base"))
        assert row["placement"]["few"] == vars(expected.few)
        assert row["placement"]["overall"] == vars(expected.overall)
        (swept,) = [swept for swept in run.rows if swept["tau"] == at]
        assert {name: row[name] for name in swept} == swept
    sentence = str(place(run, base, names=("chosen", "base")))
    assert rows[2]["placement"]["sentence"] == sentence
    for text in (printed, (tmp_path / "report.md").read_text()):
        assert sentence in text
        assert f"chosen: tau {tau:g} chosen on the validation split." in text
        assert "chosen on the test set itself" in text
    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert "(tradeoff.png)" in (tmp_path / "report.md").read_text()


def test_seeds_are_placed_by_their_mean(evaluated, tmp_path):
    content, _ = report(evaluated, tmp_path, "{}/base", "run={0}/run1,{0}/run2")
    runs = [curve(0.4, 1), curve(0.4, 2)]
    (row,) = [row for row in content["trade_off"]["rows"] if row["run"] == "run" and row["tau"] == 0]
    assert row["placement"]["few"] == vars(place(runs, curve(1.0, 0)).few)
    for name in ("top1", "many", "medium", "few"):
        assert row[name] == pytest.approx(np.mean([one.rows[0][name] for one in runs]))


@pytest.mark.parametrize("seeds", ["{0}/chosen,{0}/run1", "{0}/run1,{0}/chosen"])
def test_tau_is_chosen_on_the_test_set_of_all_seeds_if_one_has_no_validation_split(evaluated, tmp_path, seeds):
    content, _ = report(evaluated, tmp_path, "{}/base", f"run={seeds}")
    pairs = zip(curve(0.4, 3).rows, curve(0.4, 1).rows, strict=False)
    top1 = {one["tau"]: (one["top1"] + other["top1"]) / 2 for one, other in pairs}
    row = content["trade_off"]["rows"][-1]
    assert (row["chosen"], row["tau"]) == (HERE, max(top1, key=lambda tau: (top1[tau], -tau)))


@pytest.mark.parametrize("name", ["gone", "stale"])
def test_methods_without_a_curve_are_named_and_others_compared(evaluated, tmp_path, name):
    folder = Path(shutil.copytree(evaluated / "run1", tmp_path / name))
    (folder / "tradeoff.npz").unlink()
    if name == "stale":
        shutil.copy(evaluated / "run2/tradeoff.npz", folder)
    for runs in (["{}/base", str(folder)], [str(folder), "{}/base"]):
        content, printed = report(evaluated, tmp_path, *runs)
        assert f"{name} has no trade-off curve: " in printed
        assert {row["run"] for row in content["trade_off"]["rows"]} == {"base"}
        assert all(row["placement"] is None for row in content["trade_off"]["rows"])
        assert content["runs"][1]["test"]["overall"]["mean"] > 0


def test_without_the_curve_s_file_the_groups_are_those_of_the_evaluation(evaluated, tmp_path):
    for name, lean, seed in (("a", 1.0, 0), ("b", 0.4, 1)):
        np.savez(tmp_path / f"{name}.npz", logits=logits(lean, seed), labels=LABELS, counts=COUNTS)
        assert main(["evaluate", "--logits", str(tmp_path / f"{name}.npz"), "--groups", "60,10"]) == 0
    whole, _ = report(evaluated, tmp_path, str(tmp_path / "a"), str(tmp_path / "b"))
    for name in "ab":
        (tmp_path / name / "tradeoff.npz").unlink()
        content, printed = report(evaluated, tmp_path, str(tmp_path / "a"), str(tmp_path / "b"))
        for run, same, (lean, seed) in zip(content["runs"], whole["runs"], ((1.0, 0), (0.4, 1)), strict=True):
            right = logits(lean, seed).argmax(1) == LABELS
            for group, inside in (("many", COUNTS >= 60), ("few", COUNTS <= 10)):
                assert run["test"][group]["mean"] == pytest.approx(100 * right[inside[LABELS]].mean())
            assert run["test"] == same["test"]
        assert "many-shot (>= 60)" in printed


@pytest.mark.parametrize("order", [1, -1])
def test_without_the_groups_or_with_other_counts_nothing_is_placed(evaluated, tmp_path, order):
    content, printed = report(evaluated, tmp_path, *["{}/base", "{}/small"][::order])
    assert "small is not placed on a curve: Expected test images of many-shot classes" in printed
    assert all(row["placement"] is None for row in content["trade_off"]["rows"])


def test_other_class_counts_are_a_difference(evaluated, tmp_path):
    _, printed = report(evaluated, tmp_path, "{}/base", "{}/small")
    assert "Not comparable: different settings (class counts of the evaluation)" in printed
    reordered = {"logits": logits(1.0, 0), "labels": LABELS, "counts": COUNTS[::-1]}
    np.savez(tmp_path / "reordered.npz", **reordered)
    assert main(["evaluate", "--logits", str(tmp_path / "reordered.npz")]) == 0
    _, printed = report(evaluated, tmp_path, "{}/base", str(tmp_path / "reordered"))
    assert "Not comparable: different settings (class counts of the evaluation)" in printed


def test_published_results_are_of_the_whole_test_split_and_of_the_host_s_groups(write_evaluation):
    reference = find_reference("imagenet_lt/r50")
    for name, changes in (("val", {"split": "val"}), ("part", {"split_images": 7})):
        with pytest.raises(ReportError, match=f"but the reference {reference.name} is of the whole test split"):
            compare([load(str(write_evaluation(name, **changes)))], reference)
    settings = {"settings": {"model": "LGR_r50"}, "run_settings": {"epochs": reference.settings["epochs"]}}
    for groups, comparable in (("upstream", True), ("50,10", False)):
        verdict = compare([load(str(write_evaluation(groups, groups, **settings)))], reference).verdict
        assert verdict.comparable == comparable, verdict
        assert [setting.values for setting in verdict.differing] == [("50,10", "100,20")] * (not comparable)


def test_a_tau_at_the_edge_of_the_sweep_is_pointed_out(tmp_path):
    for name, lean in (("a", 1.0), ("b", 1.2)):
        np.savez(tmp_path / f"{name}.npz", logits=logits(lean, 0), labels=LABELS, counts=COUNTS)
        assert main(["evaluate", "--logits", str(tmp_path / f"{name}.npz"), "--tau", "0.25"]) == 0
    _, printed = report(tmp_path, tmp_path, "{}/a", "{}/b")
    assert "b: tau 0.25 chosen on the test set itself, so slightly optimistic. It is the largest tau swept" in printed


def test_other_images_and_a_curve_with_keys_missing_are_refused(evaluated, tmp_path):
    with pytest.raises(ReportError, match="on other images"):
        run_compare([str(evaluated / "base"), str(evaluated / "other")])
    folder = Path(shutil.copytree(evaluated / "run1", tmp_path / "odd"))
    content = json.loads((folder / "evaluation.json").read_text())
    for key in ("rules", "choice", "prior", "groups", "sha256"):
        rest = {name: value for name, value in content["trade_off"].items() if name != key}
        (folder / "evaluation.json").write_text(json.dumps(content | {"trade_off": rest}))
        with pytest.raises(ReportError, match="missing or has a wrong value"):
            run_compare([str(evaluated / "base"), str(folder)])
