"""Thresholds of many-, medium- and few-shot classes: recorded, given, and shown beside the groups' names."""

import json

import numpy as np
import pytest

from vlltr_plugin import InverseFrequency, ReweightedLoss, RunRecorder, Uniform
from vlltr_plugin.__main__ import main
from vlltr_plugin.core.shot_groups import UPSTREAM

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")

COUNTS = np.array([120, 60, 50, 30, 11, 10, 5])
LABELS = np.repeat(np.arange(7), 20)
LOGITS = np.random.default_rng(0).normal(size=(140, 7)) + 1.5 * np.eye(7)[LABELS] + np.log(COUNTS)


def test_a_class_without_training_images_is_in_no_group():
    assert [*UPSTREAM.group([0, 1, 20, 21, 99, 100])] == ["", "few", "few", "medium", "medium", "many"]


def evaluate(file, *more, **arrays):
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **{"logits": LOGITS, "labels": LABELS, "counts": COUNTS, **arrays})
    return main(["evaluate", "--logits", str(file), *more])


def few_shot(most: int) -> float:
    """Of all images of classes with `most` training images or fewer, how many percent are right; by a loop."""
    right = [LOGITS[i].argmax() == LABELS[i] for i in range(140) if COUNTS[LABELS[i]] <= most]
    return 100.0 * sum(right) / len(right)


def compared(tmp_path, *arguments):
    assert main(["compare", *map(str, arguments), "--out", str(tmp_path / "report")]) == 0
    return json.loads((tmp_path / "report" / "report.json").read_text())


def test_an_evaluation_in_a_recorded_run_s_folder_has_the_run_s_groups_settings_and_names(tmp_path, capsys):
    names = [f"fish {index}" for index in range(7)]
    for run, made, lr in (("ce", Uniform, 0.1), ("inverse", InverseFrequency, 0.2)):
        criterion = ReweightedLoss(made(COUNTS.tolist()))
        recorder = RunRecorder(tmp_path / run, criterion, settings={"lr": lr}, groups="50,10", class_names=names)
        recorder.end_epoch(overall=50.0, few=few_shot(10))
        assert evaluate(tmp_path / run / "test.npz") == 0
    assert few_shot(10) != few_shot(20)
    said = capsys.readouterr().out
    assert "fish" in said
    assert "few <= 10" in said
    assert "VL-LTR" not in said
    for more, shown in (([], "few <= 10"), (["--groups", "60,29"], "few <= 29")):
        assert main(["inspect", str(tmp_path / "inverse"), *more]) == 0
        assert shown in capsys.readouterr().out
    found = json.loads((tmp_path / "ce" / "test" / "evaluation.json").read_text())
    assert found["trade_off"]["groups"] == "50,10"
    assert found["rules"]["single"]["groups"]["50,10"]["few"]["micro"] == pytest.approx(few_shot(10))
    report = compared(tmp_path, tmp_path / "ce" / "test", tmp_path / "inverse" / "test")
    assert report["runs"][0]["test"]["few"]["mean"] == pytest.approx(few_shot(10))
    assert report["differing_settings"] == {"lr": ["0.1", "0.2"]}
    assert report["runs"][1]["method"] == "inverse"
    said = capsys.readouterr().out
    assert "few-shot (<= 10)" in said
    assert "checkpoint.pth" not in said
    assert "train.log" not in said
    report = compared(tmp_path, tmp_path / "ce", tmp_path / "ce" / "test")
    assert "groups (many from, few up to)" not in report["differing_settings"]


@pytest.mark.parametrize(("option", "most"), [("50,10", 10), ("others", 19), ("31,30", 30), (None, 20)])
def test_compare_groups_evaluations_anew(tmp_path, option, most):
    more = () if option is None else ("--groups", option)
    for name in "ab":
        assert evaluate(tmp_path / name / "test.npz") == 0
    report = compared(tmp_path, tmp_path / "a" / "test", tmp_path / "b" / "test", *more)
    assert report["runs"][0]["test"]["few"]["mean"] == pytest.approx(few_shot(most))
    assert report["trade_off"]["rows"][0]["few"] == pytest.approx(few_shot(most))


def test_other_thresholds_are_a_setting_that_differs(tmp_path, capsys):
    for run, groups in (("a", "50,10"), ("b", (50, 10)), ("c", "others"), ("d", None)):
        RunRecorder(tmp_path / run, groups=groups).end_epoch(overall=50.0, few=30.0)
    name = "groups (many from, few up to)"
    assert name not in compared(tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "d")["differing_settings"]
    assert compared(tmp_path, tmp_path / "a", tmp_path / "c")["differing_settings"][name] == ["50,10", "101,19"]
    capsys.readouterr()
    assert compared(tmp_path, tmp_path / "d", tmp_path / "d" / "log.txt", "--groups", "60,5")
    assert "few-shot (<= 5)" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "d"), "--groups", "60,5"]) == 2
    assert "expected groups 50,10" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["10,50", "50", "50,10,5", "many", "50,0", "20,20", "1.5,1", ""])
def test_thresholds_that_make_no_groups_are_refused_first(tmp_path, capsys, text):
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path), "--groups", text])
    assert ended.value.code == 2
    assert "Expected groups" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Expected groups"):
        RunRecorder(tmp_path / "run", groups=text)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", [["a", "b"], "fish", [1, 2, 3, 4, 5, 6, 7]])
def test_class_names_that_do_not_fit_are_refused(tmp_path, names, capsys):
    with pytest.raises(ValueError, match="Expected class_names"):
        RunRecorder(tmp_path, ReweightedLoss(Uniform(COUNTS.tolist())), class_names=names)
    assert evaluate(tmp_path / "a.npz", names=np.array(list(names))) == 2
    assert "expected names to be 7 strings" in capsys.readouterr().err


def test_names_in_the_file_are_shown_and_counts_of_another_run_are_refused(tmp_path, capsys):
    assert evaluate(tmp_path / "a.npz", names=np.array([f"bird {index}" for index in range(7)])) == 0
    assert "bird" in capsys.readouterr().out
    assert "bird 3" in (tmp_path / "a" / "per_class.csv").read_text()
    RunRecorder(tmp_path, ReweightedLoss(Uniform([9, 5, 3, 2, 2, 2, 2]))).end_epoch(overall=1.0)
    assert evaluate(tmp_path / "b.npz") == 2
    assert "training images are 25" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
