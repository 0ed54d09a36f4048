"""Every number of a report equals an independent reading of the log of real runs of the stand-in."""

import csv
import json
import statistics

import pytest
from report_lines import PNG

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
REST = {"vlltr_plugin", "baseline", "comparable", "verdict", "differing_settings", "always_zero", "reference", "notes"}


def read(folder):
    """The epochs, the best of them and the test: the last whole object of each line, and of each epoch the last."""
    epochs, test = {}, None
    for text in (folder / "log.txt").read_text().splitlines():
        line = json.loads(text[max(text.rfind('{"train_loss0"'), text.rfind('{"test_loss"'), 0) :])
        if "epoch" in line:
            epochs[line["epoch"]], test = line, None
        else:
            test = line
    lines = [epochs[epoch] for epoch in sorted(epochs)]
    highest = max(line["test_acc1"] for line in lines)
    return lines, next(line for line in lines if line["test_acc1"] == highest), test


@pytest.fixture(scope="module")
def report(host_runs, tmp_path_factory):
    """The folders compared, and their report's folder."""
    out = tmp_path_factory.mktemp("report")
    folders = [host_runs / name for name in ("baseline", "resumed", "torn")]
    run_compare([str(folder) for folder in folders], out=out)
    return folders, out


def test_every_number_of_the_json_equals_an_independent_reading(report):
    folders, out = report
    content = json.loads((out / "report.json").read_text())
    base_epochs, base_best, base_test = read(folders[0])
    for run, folder in zip(content["runs"], folders, strict=True):
        epochs, best, test = read(folder)
        reweight = [line["train_reweight_seconds"] for line in epochs if "train_reweight_seconds" in line]
        median = statistics.median(reweight) if reweight else None
        seed = {
            "path": str(folder),
            "settings_from": str(folder / "checkpoint.pth"),
            "best_epoch": best["epoch"],
            "last_epoch": epochs[-1]["epoch"],
            "epochs": epochs,
            "test": test,
            "times": {"training": None, "passes": None, "per_epoch": None, "reweight_per_epoch": median},
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
    assert content["comparable"] is True
    assert set(content) == {"runs", "warnings", "trade_off"} | REST


def test_every_number_of_the_csv_equals_an_independent_reading(report):
    folders, out = report
    rows = iter(csv.DictReader((out / "report.csv").open()))
    for folder in folders:
        epochs, best, test = read(folder)
        for line in [*epochs, test]:
            row, validated = next(rows), line is not test
            marks = (str(int(line is best)), str(int(line is epochs[-1]))) if validated else ("", "")
            assert (row["path"], row["epoch"]) == (str(folder), str(line.get("epoch", "")))
            assert (row["split"], row["is_best"], row["is_last"]) == ("validation" if validated else "test", *marks)
            assert row["reweight_seconds"] == repr(line.get("train_reweight_seconds", "")).strip("'")
            assert {name: row[name] for name in KEY_OF} == {
                name: repr(line[key]) if key in line else "" for name, key in KEY_OF.items()
            }
    assert list(rows) == []


def test_the_markdown_has_the_pictures_and_names_what_was_torn(report):
    folders, out = report
    text = (out / "report.md").read_text()
    low, torn = (read(folders[number])[2]["test_low"] for number in (0, 2))
    for said in (
        f" {torn:.2f}  {torn - low:+.2f} |",
        f"{folders[2]}/log.txt, line 2: left out a result that a killed run wrote only in part",
        "](groups.png)",
        "](accuracy.png)",
    ):
        assert said in text
    assert {path.name for path in out.glob("*.png")} == {"groups.png", "accuracy.png"}
    assert all(path.read_bytes().startswith(PNG) for path in out.glob("*.png"))


def test_not_a_number_stays_valid_json(write_run):
    lines = '{"epoch": 0, "test_acc1": 1.0, "train_loss": NaN, "test_loss": Infinity}\n'
    comparison = compare([load(str(write_run(name, lines))) for name in "ab"])
    (line,) = json.loads(json_text(comparison))["runs"][0]["seeds"][0]["epochs"]
    assert line == {"epoch": 0, "test_acc1": 1.0, "train_loss": None, "test_loss": None}
