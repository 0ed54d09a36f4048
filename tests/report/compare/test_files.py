"""Every number of a report equals an independent reading of the log of real runs of the stand-in."""

import csv
import json
import statistics

import pytest

from vlltr_plugin.report.compare import compare, load, run_compare
from vlltr_plugin.report.compare.files import json_text

KEY_OF = {
    "overall": "test_acc1",
    "overall_top5": "test_acc5",
    "visual": "test_acc0_1",
    "visual_top5": "test_acc0_5",
    "image_text": "test_acc1_1",
    "image_text_top5": "test_acc1_5",
    "many": "test_many",
    "medium": "test_median",
    "few": "test_low",
    "10-shot": "test_10-shot",
    "5-shot": "test_5-shot",
    "loss": "test_loss",
    "train_loss": "train_loss",
}


def read(folder):
    """The epochs and the test: the last whole object of each line, and of each epoch the last line."""
    epochs, test = {}, None
    for text in (folder / "log.txt").read_text().splitlines():
        line = json.loads(text[max(text.rfind('{"train_loss0"'), text.rfind('{"test_loss"'), 0) :])
        if "epoch" in line:
            epochs[line["epoch"]], test = line, None
        else:
            test = line
    return [epochs[epoch] for epoch in sorted(epochs)], test


@pytest.fixture(scope="module")
def report(host_runs, tmp_path_factory, request):
    """The folders compared, and their report's folder."""
    out = tmp_path_factory.mktemp("report")
    folders = [host_runs / name for name in ("baseline", "resumed", "torn")]
    run_compare([str(folder) for folder in folders], out=out)
    return folders, out


def test_the_runs_are_the_ones_meant(host_runs):
    resumed, torn = ((host_runs / name / "log.txt").read_text().splitlines() for name in ("resumed", "torn"))
    assert ["epoch" in json.loads(line) for line in resumed] == [True, False, True, False]
    assert len(torn) == 3
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn[1])


def test_every_number_of_the_json_equals_an_independent_reading(report):
    folders, out = report
    content = json.loads((out / "report.json").read_text())
    lines_of = [read(folder) for folder in folders]
    base_epochs, base_test = lines_of[0]
    for run, folder, (epochs, test) in zip(content["runs"], folders, lines_of, strict=True):
        (seed,) = run["seeds"]
        best = max(reversed(epochs), key=lambda line: line["test_acc1"])
        best = next(line for line in epochs if line["test_acc1"] == best["test_acc1"])
        base_best = next(
            line for line in base_epochs if line["test_acc1"] == max(other["test_acc1"] for other in base_epochs)
        )
        reweight = [line["train_reweight_seconds"] for line in epochs if "train_reweight_seconds" in line]
        median = statistics.median(reweight) if reweight else None
        nothing = {"training": None, "passes": None, "per_epoch": None}
        assert seed == {
            "path": str(folder),
            "settings_from": str(folder / "checkpoint.pth"),
            "best_epoch": best["epoch"],
            "last_epoch": epochs[-1]["epoch"],
            "epochs": epochs,
            "test": test,
            "times": {**nothing, "reweight_per_epoch": median},
            "pass_seconds": {},
        }
        stages = {"best": (best, base_best), "last": (epochs[-1], base_epochs[-1]), "test": (test, base_test)}
        for stage, (line, base) in stages.items():
            assert run.pop(stage) == {
                name: {"mean": line[key], "sd": None, "n": 1}
                | ({} if run["name"] == "baseline" else {"difference": line[key] - base[key], "difference_se": None})
                for name, key in KEY_OF.items()
                if key in line
            }
        times = {"reweight_per_epoch": {"mean": median, "sd": None, "n": 1, "percent": None}} if reweight else {}
        assert run == {"name": folder.name, "method": run["method"], "seeds": [seed], "times": times}
    rest = set(content) - {"runs"}
    assert rest == {"vlltr_plugin", "baseline", "comparable", "verdict", "differing_settings", "always_zero"} | {
        "reference",
        "notes",
        "warnings",
        "trade_off",
    }


def test_every_number_of_the_csv_equals_an_independent_reading(report):
    folders, out = report
    rows = list(csv.DictReader((out / "report.csv").open()))
    expected = [(folder, line) for folder in folders for epochs, test in [read(folder)] for line in [*epochs, test]]
    assert len(rows) == len(expected)
    for row, (folder, line) in zip(rows, expected, strict=True):
        assert (row["path"], row["epoch"]) == (str(folder), str(line.get("epoch", "")))
        assert row["split"] == ("validation" if "epoch" in line else "test")
        for name, key in KEY_OF.items():
            assert row[name] == (repr(line[key]) if key in line else "")
        epochs, _ = read(folder)
        best = max(epochs, key=lambda line: line["test_acc1"])["epoch"]
        marks = ("", "") if "epoch" not in line else (line["epoch"] == best, line == epochs[-1])
        assert (row["is_best"], row["is_last"]) == tuple(mark if mark == "" else str(int(mark)) for mark in marks)
        assert row["reweight_seconds"] == repr(line.get("train_reweight_seconds", "")).strip("'")


def test_the_markdown_shows_the_tests_its_pictures_and_what_was_torn(report):
    folders, out = report
    text = (out / "report.md").read_text()
    tests = [read(folder)[1] for folder in folders]
    shown = [f"{tests[0]['test_low']:.2f}"]
    shown += [f"{t['test_low']:.2f}  {t['test_low'] - tests[0]['test_low']:+.2f}" for t in tests[1:]]
    assert f"| few-shot (<= 20) | {' | '.join(shown)} |" in text
    assert "| reweight | none | class_volume | class_volume |" in text
    assert f"{folders[2]}/log.txt, line 2: left out a result that a killed run wrote only in part" in text
    assert "use different predictions" in text
    for name in ("groups.png", "accuracy.png"):
        assert f"]({name})" in text
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert "time.png" not in text
    assert "keep what a run prints as train.log" in text


def test_runs_of_different_length_are_not_called_comparable(report, host_runs):
    verdict = compare([load(str(host_runs / "baseline")), load(str(host_runs / "resumed"))]).verdict
    assert verdict.comparable is True
    assert verdict.checked > 15


def test_not_a_number_stays_valid_json(write_run):
    lines = '{"epoch": 0, "test_acc1": 1.0, "train_loss": NaN, "test_loss": Infinity}\n'
    comparison = compare([load(str(write_run(name, lines))) for name in "ab"])
    (line,) = json.loads(json_text(comparison))["runs"][0]["seeds"][0]["epochs"]
    assert line == {"epoch": 0, "test_acc1": 1.0, "train_loss": None, "test_loss": None}
