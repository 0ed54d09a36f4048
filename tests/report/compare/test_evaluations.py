"""`compare` takes the evaluations of `evaluate` beside logs, and refuses them on other images."""

import json

import numpy as np
import pytest
from report_lines import SETTINGS, compared, log_line

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.host import HOST
from vlltr_plugin.report.compare import compare, load
from vlltr_plugin.report.compare.comparison import metrics_of
from vlltr_plugin.report.compare.tables import tables_of
from vlltr_plugin.report.evaluate.evaluation import FORMAT, evaluate_predictions
from vlltr_plugin.report.tradeoff.predictions import Predictions

LABELS = np.array([0, 0, 1, 1, 2, 2])
BY_NAME = {metric.name: metric for metric in metrics_of(HOST)}


def predictions(top1):
    top1 = np.array(top1)
    return Predictions(top1, np.ones(6, bool), np.full(6, 0.5), np.zeros(6))


@pytest.fixture
def write_evaluation(tmp_path):
    def write(name, **changes):
        rules = {
            "mixture": predictions([0, 0, 1, 1, 2, 0]),
            "sum": predictions([0, 0, 1, 0, 0, 0]),
            "visual": predictions([0, 0, 0, 0, 0, 0]),
            "image_text": predictions([0, 0, 1, 1, 2, 2]),
        }
        content = {
            "format": FORMAT,
            "host": "vl-ltr",
            "trade_off": {"groups": "upstream", "rules": {}},  # without its file
            "checkpoint": {"file": "x/checkpoint.pth", "sha256": "", "epoch": 9},
            "data_set": "IMNET_LT",
            "split": "test",
            "labels_sha256": "abc",
            "images": 6,
            "split_images": 6,
            "classes": 1000,
            "settings": {"model": "LGR_r50"},
        }
        content |= evaluate_predictions(LABELS, rules, np.array([200, 50, 4])) | changes
        folder = tmp_path / name / "evaluation"
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps(content))
        return folder

    return write


def test_a_group_at_0_percent_in_two_evaluations_is_a_number(write_evaluation, write_run):
    runs = [load(str(write_evaluation(name))) for name in ("base", "dv")]
    comparison = compare(runs)
    assert comparison.empty == ()
    (few,) = (row for row in next(iter(tables_of(comparison))).rows if row[0] == "few-shot (<= 20)")
    assert few[1:] == ("0.00", "0.00  +0.00")
    zeros = {"low": 0.0, "10-shot": 0.0, "5-shot": 0.0}
    log = load(str(write_run("log", [log_line(0, **zeros), log_line(None, **zeros)], SETTINGS)))
    assert compare([log, runs[1]]).empty == ()  # the evaluation knows that there are images


def test_an_evaluation_stands_beside_a_log(write_evaluation, write_run):
    run = load(str(write_evaluation("dv")))
    base = load(str(write_run("base", [log_line(0), log_line(None, low=20.0)], SETTINGS)))
    comparison = compare([base, run])
    found = {name: comparison.summary("dv", "test", metric) for name, metric in BY_NAME.items()}
    values = {name: summary.mean for name, summary in found.items() if summary}
    assert {name: round(value, 2) for name, value in values.items() if "top5" not in name} == {
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
    assert comparison.difference(run.name, "test", BY_NAME["few"]).value == -20.0
    assert comparison.verdict.unknown == ("dv",)
    titles = [sheet.title for sheet in tables_of(comparison)]
    assert titles[0].startswith("Final test")


def test_the_checkpoint_beside_it_tells_the_settings(write_evaluation, write_run):
    write_run("dv", None, {**SETTINGS, "lr": 7.0})
    run = load(str(write_evaluation("dv") / "evaluation.json"))
    assert run.name == "dv"
    (setting,) = compare([load(str(write_run("b", None, SETTINGS))), run]).verdict.differing
    assert (setting.name, setting.values) == ("lr", ("0.001", "7.0"))


def test_a_group_without_images_has_no_number(write_evaluation):
    comparison = compared(*(write_evaluation(name, host_log={"acc1": 50.0, "many": None}) for name in "ab"))
    assert comparison.summary("b", "test", BY_NAME["many"]) is None
    assert comparison.summary("b", "test", BY_NAME["overall"]).mean == 50.0


@pytest.mark.parametrize("changes", [{"split": "val"}, {"split_images": 7}])
def test_another_split_or_a_part_is_not_set_beside_a_log(write_evaluation, write_run, changes):
    run, base = load(str(write_evaluation("dv", **changes))), load(str(write_run("base", None, SETTINGS)))
    for pair in ([base, run], [run, base]):
        with pytest.raises(ReportError, match="not comparable"):
            compare(pair)


def test_two_evaluations_need_the_same_images(write_evaluation):
    one, same = load(str(write_evaluation("a", split="val"))), load(str(write_evaluation("b", split="val")))
    assert next(tables_of(compare([one, same]))).title == "Evaluation (%), validation split"
    with pytest.raises(ReportError, match="on other images"):
        compare([one, load(str(write_evaluation("c", split="val", labels_sha256="other")))])


@pytest.mark.parametrize("text", ["", "[]", '{"format": "else"}', json.dumps({"format": FORMAT}), "[" * 100_000])
def test_what_is_no_evaluation_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(ReportError, match="expected") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)
