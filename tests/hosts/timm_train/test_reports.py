"""What `compare`, `inspect` and `evaluate` make of runs of train.py."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from checking import check, only
from hosts.timm_train.conftest import Train

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import host_of_run
from vlltr_plugin.hosts.timm_train.host import read_log, read_run

DV = "--reweight class_volume --reweight-opt min_samples=5"


def test_compare_and_inspect_read_a_run(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    plain, weighted = train("", "plain").folder, train(DV, "weighted").folder
    assert host_of_run(weighted).name == "timm"
    assert main(["compare", str(plain), str(weighted)]) == 0
    said = capsys.readouterr().out
    assert "class_volume (min_samples=5)" in said
    assert "Comparable: the same in all" in said
    assert main(["inspect", str(weighted)]) == 0
    assert "thing 3 (3)" in capsys.readouterr().out
    args = read_run(weighted / "summary.csv").args
    assert args["reweight"] == {"type": "class_volume", "min_samples": 5}
    assert (args["nb_classes"], args["data_set"]) == (4, "points")


HEAD = "epoch,train_loss,eval_top1\n"
SUMMARIES = {
    "under another heading": (
        f"{HEAD}0,2,50\nepoch,train_loss,train_reweight_x,eval_top1\n1,1,,60\n", [50, 60], (), ""),
    "gone back": (f"{HEAD}0,2,50\n1,2,60\n2,2,70\n{HEAD}1,2,65\n", [50, 65], (2,), "training went back"),
    "half a line": (f"{HEAD}0,2.0,50\n1,1.9\n", [50], (), "line 3: left out"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "top1", "abandoned", "warning"), SUMMARIES.values(), ids=SUMMARIES)
def test_summaries_of_several_starts(
    text: str, top1: list[float], abandoned: tuple[int, ...], warning: str, tmp_path: Path
) -> None:
    (tmp_path / "summary.csv").write_text(text)
    log = read_log(tmp_path / "summary.csv")
    assert [line["eval_top1"] for line in log.epochs.values()] == top1
    assert log.abandoned == abandoned
    assert len(log.warnings) == bool(warning)
    assert warning in "".join(log.warnings)
    assert log.reweighted is False


def test_a_summary_without_validation_is_refused_and_missing_arguments_are_said(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("epoch,train_loss,lr\n0,2,0.1\n")
    with pytest.raises(ReportError, match="eval_top1"):
        read_log(tmp_path / "summary.csv")
    (tmp_path / "summary.csv").write_text(f"{HEAD}0,2,50\n")
    for text in (None, "- a list\n", "a: b: c\n", "reweight_opt: min_samples=30\n"):
        if text is not None:
            (tmp_path / "args.yaml").write_text(text)
        found = read_run(tmp_path / "summary.csv")
        assert "the arguments were not read" in found.warnings[0]
        assert found.args == {}


WAYS = {
    "as trained": DV,
    "another dtype": f"{DV} --no-prefetcher --model-dtype bfloat16",
    "split batches": "--split-bn --aug-splits 3",
}


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_evaluate_gives_the_logged_accuracy_on_this_machine_s_device(way: str, train: Train, checkout: Path) -> None:
    run = train(way)
    path = run.folder / "checkpoint-2.pth.tar"
    with torch.serialization.safe_globals([argparse.Namespace]):
        saved = torch.load(path, weights_only=True)
    saved["args"].device = "elsewhere:3"
    torch.save(saved, path)
    out = run.folder / "evaluation"
    assert main(["evaluate", str(path), "--checkout", str(checkout), "--out", str(out)]) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert found["host_log"]["acc1"] == pytest.approx(float(run.rows[2]["eval_top1"]))
    assert found["settings"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.usefixtures("forked")
def test_check_compares_the_state_of_resume(train: Train, checkout: Path) -> None:
    resume = f"--resume {train(DV).folder}/checkpoint-0.pth.tar"
    assert check(checkout, "--host-args", f"{DV} {resume}", code=0)["reweight"][0] == "ok"
    for options, name in ((f"{DV} form=logit_adjustment", "form"), ("--reweight class_volume", "min_samples")):
        found = check(checkout, "--host-args", f"{options} {resume}", code=1)
        assert f"differs in {name}" in only(found, "reweight")


def test_evaluate_gives_the_groups_that_the_log_lacks(
    train: Train, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(DV)
    arguments = ["evaluate", str(run.folder / "checkpoint-2.pth.tar"), "--checkout", str(checkout)]
    assert main([*arguments, "--out", str(run.folder / "evaluation")]) == 0
    found = json.loads((run.folder / "evaluation" / "evaluation.json").read_text())
    assert found["host_log"]["acc1"] == pytest.approx(float(run.rows[2]["eval_top1"]))
    assert found["checkpoint"]["epoch"] == 2
    assert found["differs_from_training"] == {}
    assert "what timm's train.py logs" in capsys.readouterr().out
    assert main([*arguments, "--host-args", "--num-classes 5"]) == 2
    assert "does not fit the model that train.py builds" in capsys.readouterr().err
    assert main([*arguments, "--split", "test"]) == 2
    assert "give --val-split in --host-args" in capsys.readouterr().err
    assert main(["evaluate", str(run.folder), "--checkout", str(checkout)]) == 2
    assert "model_best.pth.tar" in capsys.readouterr().err
