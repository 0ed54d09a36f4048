"""LIFT's text logs: what is read of them, and what `compare` and `inspect` make of a run's folder."""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hosts.lift.conftest import Make

from vlltr_plugin.cli import main
from vlltr_plugin.core.shot_groups import convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import find_log, host_of_log
from vlltr_plugin.hosts.host import RunFiles
from vlltr_plugin.hosts.lift.log import read_run
from vlltr_plugin.report.compare import load
from vlltr_plugin.report.inspect import inspect_run

HEAD = """\
** Config **
dataset: CIFAR100_IR100
lr: 0.01
num_epochs: 2
output_dir: ./output/x
reweight:
  start_epoch: 0
  tau: None
  type: class_volume
v:
  fft: True
************
Setting fixed seed: 0
"""


def batch(epoch: int, number: int, loss: str, mean_seconds: float, batches: int = 10, epochs: int = 2) -> str:
    return (
        f"epoch [{epoch}/{epochs}] batch [{number}/{batches}] time 0.500 ({mean_seconds:.3f}) data 0.100 (0.100) "
        f"loss {loss} (9.9999) acc 10.0 (20.0) (mean 1.0 many nan med 2.0 few 3.0) lr 1.0e-02 eta 0:00:01\n"
    )


def result(overall: float, each: str = "[ 50.  25.\n   0. 100.]") -> str:
    return (
        f"Evaluate on the test set\n=> result\n* total: 10,000\n* correct: 4,000\n* accuracy: {overall}%\n* error: 1%\n"
        f"* macro_f1: 40.0%\n* class acc: {each}\n* worst_case_acc: 0.0%\n* hmean_acc: 12.5%\n* gmean_acc: 0.0%\n"
        "* many: nan%  med: 31.5%  few: 8.25%\n* average: 43.8%\n"
    )


OURS = "[vlltr-plugin] epoch [{}/2] reweight_alpha_max {} reweight_seconds 0.25\n"
EPOCHS = (
    batch(1, 4, "4.0000", 0.5)
    + batch(1, 8, "3.0000", 0.5)
    + OURS.format(1, 1)
    + batch(2, 4, "2.0000", 0.75)
    + batch(2, 8, "nan", 0.75)
    + OURS.format(2, 5.5)
)
TAIL = "Finish training\nTime elapsed: 1 day, 2:03:04\nCheckpoint saved to x\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(folder: Path, text: str) -> RunFiles:
    return read_run(write(folder / "log.txt", text))


Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """What the plug-in's command prints: the report with exit code 0, the error with 2."""

    def run(name: str, *arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main([name, *map(str, arguments)]) == code
        return capsys.readouterr()[code // 2]

    return run


@pytest.mark.parametrize("left", range(1, 30))
def test_a_log_cut_anywhere_in_its_last_line_is_read_up_to_there(tmp_path: Path, left: int) -> None:
    files = read(tmp_path, (HEAD + EPOCHS)[:-left])
    assert files.log.epochs[0]["reweight_seconds"] == 0.25
    assert "reweight_seconds" not in files.log.epochs[1]
    assert "line 19: left out" in files.warnings[0]


def test_every_number_of_a_run_is_read(tmp_path: Path) -> None:
    files = read(tmp_path, HEAD + EPOCHS + TAIL + result(40.25))
    assert files.log.epochs == {
        0: {"epoch": 0, "train_loss": 3.5, "reweight_alpha_max": 1.0, "reweight_seconds": 0.25},
        1: {"epoch": 1, "train_loss": 2.0, "reweight_alpha_max": 5.5, "reweight_seconds": 0.25},
    }
    assert files.log.test == {"overall": 40.25, **GROUPS}
    assert files.log.class_accuracy == (50.0, 25.0, 0.0, 100.0)
    assert files.stdout is not None
    assert files.stdout.training_seconds == 86400 + 2 * 3600 + 3 * 60 + 4
    assert files.stdout.epoch_seconds == {0: pytest.approx(5.0), 1: pytest.approx(10 * (18 * 0.75 - 8 * 0.5) / 10)}
    method = {"reweight": {"start_epoch": 0, "type": "class_volume"}}
    args = {"lr": 0.01, "num_epochs": 2, "output_dir": "./output/x", "v.fft": True, "data_set": "CIFAR100_IR100"}
    assert files.args == args | method
    (warning,) = files.warnings
    assert "1 of 2 printed losses of epoch 2 are not finite" in warning


ONE, TWO = EPOCHS.split(OURS.format(1, 1))
OF_ONE = ONE + OURS.format(1, 1)
GROUPS = {"harmonic": 12.5, "medium": 31.5, "few": 8.25, "macro": 43.8}
PLUS = "* Overall accuracy: 81.23%\n* Mean class accuracy: 80.50%\n* Many: 83.00%  Med: 82.00%  Few: 76.00%\n"
UPT = re.sub(r"time \S+ \(\S+\) data \S+ \(\S+\) (loss \S+ \S+)", r"\1 loss_dis 0.1 (0.1)", EPOCHS)
BEFORE, BEST = "* many: 61.0%  \nmed: 62.0%  \n", "* average: 91.0%\n* many: 92.0%  med: 93.0%  few: 94.0%\n"
TEXTS = {
    "LIFT+'s words": (EPOCHS + TAIL + PLUS, [3.5, 2], [], {"overall": 81.23, "macro": 80.5, "many": 83, "few": 76}, ""),
    "UPT's batches have no times": (UPT + TAIL + result(40), [3.5, 2], [], {"overall": 40}, ""),
    "a result after each epoch": (OF_ONE + result(30) + TWO + result(35) + TAIL, [3.5, 2], [30, 35], {"overall": 35},
                                  "on the test set: the best of them is chosen by it"),
    "CARE's numbers before and behind a result": (ONE + BEFORE + result(30) + BEST + TWO + BEFORE + result(35) + BEST,
                                                  [3.5, 2], [30, 35], {"overall": 35, **GROUPS}, ""),
    "epochs that begin again": (EPOCHS + batch(1, 4, "8.0", 0.5), [8], [], None, "went back to epoch 1"),
    "another set after the test set": (EPOCHS + result(40) + result(90).replace("the test", "the train"), [3.5, 2], [],
                                       {"overall": 40}, ""),
    "an epoch with its result, and two without a line": (
        "".join(batch(n, 4, f"{n}.0", 0.5, epochs=5) + result(10.0 * n) for n in (2, 4, 5)), [2, 4, 5], [20, 40, 50],
        {"overall": 50}, ""),
    "killed": (EPOCHS + batch(2, 9, "1.0", 1.0)[:40], [3.5, 2], [], None, ""),
    "a damaged number": (EPOCHS + TAIL + result(40).replace("12.5%", "1..5%"), [3.5, 2], [],
                         {"overall": 40, "medium": 31.5, "macro": 43.8}, "left out, damaged"),
    "decimal commas": (EPOCHS.replace("4.0000", "4,0000") + result(40.25).replace("40.25%", "40,25%"), [3, 2], [], None,
                       "left out 2 lines, the first line 14: expected numbers with a decimal point"),
}  # fmt: skip
"""Texts, the losses of their epochs, their accuracies after each epoch, the test's result, a warning."""


@pytest.mark.parametrize(("text", "losses", "overall", "test", "warning"), TEXTS.values(), ids=TEXTS)
def test_texts_of_derivatives_and_damaged_ones(
    text: str, losses: list[float], overall: list[float], test: dict[str, float] | None, warning: str, tmp_path: Path
) -> None:
    files = read(tmp_path, HEAD + text)
    lines = files.log.epochs.values()
    assert [line["train_loss"] for line in lines] == losses
    assert [line["overall"] for line in lines if "overall" in line] == overall
    assert (files.log.test is None) == (test is None)
    assert (test or {}).items() <= (files.log.test or {}).items()
    assert files.log.test is None or files.log.test.get("many") in (None, 83)
    assert warning in "\n".join(files.warnings)
    assert files.stdout is not None
    assert (files.stdout.epoch_seconds == {}) == (text == UPT + TAIL + result(40))
    assert (files.stdout.training_seconds is None) == (TAIL not in text)


@pytest.mark.parametrize("each", ["[ 50. 5x. 0. 100.]", "[ 50. 25. ... 0. 100.]"], ids=["damaged", "over 1000 classes"])
def test_accuracies_of_the_classes_that_are_not_whole_are_left_out(each: str, tmp_path: Path) -> None:
    files = read(tmp_path, HEAD + EPOCHS + TAIL + result(40.0, each))
    assert files.log.class_accuracy == ()
    assert files.log.test == {"overall": 40.0, **GROUPS}


NO_RUN = {
    **dict.fromkeys(("", "** Config **\nlr: 1\n", HEAD, "\0\0\0"), "neither an epoch nor a result"),
    HEAD + result(90.0).replace("the test set", "the validation set"): "nor a result on the test set",
    HEAD + batch(1, 4, "4.0000", 0.5).replace(".", ","): "decimal comma",
}


@pytest.mark.parametrize(("text", "reason"), NO_RUN.items())
def test_a_log_without_a_run_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=reason):
        read(tmp_path, text)


ATTACHED = "[vlltr-plugin] class_volume as loss weights, from epoch [2/2] on; alpha runs from 0.4 to 9.\n"
NO_TYPE = HEAD.replace("tau: None", "tau: 1.0").replace("type: class_volume", "type: None")
PLAIN = ONE + TWO.replace(OURS.format(2, 5.5), "")
REWEIGHTED: dict[str, tuple[str, bool | None, str]] = {
    "by the plug-in's lines": (HEAD + EPOCHS, True, ""),
    "killed in the first epoch": (HEAD + ATTACHED + batch(1, 4, "4.0", 0.5), True, ""),
    "no type": (NO_TYPE + EPOCHS, False, ""),
    "no config": ("Setting fixed seed: 0\n" + EPOCHS, None, ""),
    "no line of the plug-in": (HEAD + PLAIN + TAIL, False, "no line of the plug-in in its text"),
    "no end of an epoch": (HEAD + ATTACHED + PLAIN + TAIL, False, "no epoch of it ended with a line"),
}


@pytest.mark.parametrize(("text", "reweighted", "why"), REWEIGHTED.values(), ids=REWEIGHTED)
def test_the_config_and_the_lines_of_the_plug_in_tell_whether_a_run_was_reweighted(
    text: str, reweighted: bool | None, why: str, tmp_path: Path
) -> None:
    files = read(tmp_path, text)
    assert files.log.reweighted is reweighted
    assert files.args.get("reweight", {}).get("type") == ("class_volume" if reweighted else None)
    assert why in "".join(files.warnings[-1:])


def test_the_last_trained_run_of_a_log_with_several_runs_is_read(tmp_path: Path) -> None:
    other = HEAD.replace("lr: 0.01", "lr: 0.5").replace("  fft: True\n", "  fft: True\nextra: 1\n")
    one, tested = other + EPOCHS + TAIL + result(30.0, "[ 1.  2.]"), HEAD + result(99.0)
    second = batch(1, 4, "8.0", 0.5) + OURS.format(1, 2)
    files = read(tmp_path, one + HEAD + second + tested)
    assert files.log.epochs == {0: {"epoch": 0, "train_loss": 8.0, "reweight_alpha_max": 2.0, "reweight_seconds": 0.25}}
    assert (files.log.test, files.log.class_accuracy, files.args["lr"]) == (None, (), 0.01)
    assert "extra" not in files.args
    said = "\n".join(files.warnings)
    assert "holds 2 runs, from lines 1, 37 on: the last one counts" in said
    assert "its last run did not finish, but the run from line 1 on did" in said
    files = read(tmp_path, HEAD + second + one)
    assert files.log.test is not None
    assert (files.log.test["overall"], files.args["lr"]) == (30.0, 0.5)
    assert "did not finish" not in "\n".join(files.warnings)


LATER = "log.txt-2026-01-02-03-04-05"
PLUS_NAMES = ["log-2026-01-01-03-04-05.txt", "log-2026-01-02-03-04-05.txt"]
WHOLE = HEAD + EPOCHS + TAIL + result(40.25)
FOLDERS: dict[str, tuple[dict[str, str], str | None]] = {
    "one": ({"log.txt": WHOLE}, "log.txt"),
    "three": ({"log.txt": WHOLE, LATER: WHOLE, "log.txt-2025-12-02-03-04-05": WHOLE}, LATER),
    "LIFT+'s names": (dict.fromkeys(PLUS_NAMES, WHOLE), PLUS_NAMES[1]),
    "a refused start": ({"log.txt": WHOLE, LATER: HEAD}, "log.txt"),
    "a test on the training set": ({"log.txt": WHOLE, LATER: HEAD + result(9).replace("test set", "train set")},
                                   "log.txt"),
    "one more test": ({"log.txt": WHOLE, LATER: HEAD + result(40.0)}, "log.txt"),
    "a test alone": ({LATER: HEAD + result(40.0)}, LATER),
    "none": ({}, None),
}  # fmt: skip


@pytest.mark.parametrize(("logs", "last"), FOLDERS.values(), ids=FOLDERS)
def test_the_last_log_in_a_folder_that_holds_a_training_is_read(
    logs: dict[str, str], last: str | None, tmp_path: Path
) -> None:
    for name, text in (logs | {"log-2027-01-01-00-00-00.txt": "not a run\n"}).items():
        write(tmp_path / name, text)
    assert find_log(tmp_path) == (tmp_path / last if last else None)


def test_a_false_start_that_comes_after_a_whole_run_in_the_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "log.txt", WHOLE)
    start = write(tmp_path / LATER, HEAD + ATTACHED + batch(1, 4, "4.0", 0.5))
    assert find_log(tmp_path) == start
    (warning,) = read_run(start).warnings
    assert "its last run did not finish, but log.txt did" in warning


def test_the_host_of_a_log_is_recognised_and_runs_of_two_are_not_compared(tmp_path: Path, command: Command) -> None:
    texts = {"lift": WHOLE, "vl-ltr": '{"test_acc1": 1.0, "epoch": 0}\n', "nobody's": "nobody's\n"}
    logs = {name: write(tmp_path / name / "log.txt", text) for name, text in texts.items()}
    assert [host_of_log(log).name for log in logs.values()] == ["lift", "vl-ltr", "vl-ltr"]
    assert find_log(tmp_path / "vl-ltr") == logs["vl-ltr"]
    assert "is a run of VL-LTR, but" in command("compare", tmp_path / "lift", tmp_path / "vl-ltr", code=2)


def test_a_model_that_training_went_on_from_is_a_setting_and_one_that_was_tested_is_none(
    tmp_path: Path, command: Command
) -> None:
    for name, model in (("a", "None"), ("b", "./output/other")):
        head = HEAD.replace("lr: 0.01", f"lr: 0.01\nmodel_dir: {model}")
        write(tmp_path / name / "log.txt", head + EPOCHS + TAIL + result(40.0))
        write(tmp_path / f"tested_{name}" / "log.txt", head + result(40.0))
    said = command("compare", tmp_path / "a", tmp_path / "b")
    assert "Not comparable: different settings (model_dir)" in said
    assert "class_volume (start_epoch=0)" in said
    assert "Comparable: the same" in command("compare", tmp_path / "tested_a", tmp_path / "tested_b")


def test_compare_and_inspect_read_runs_of_the_stand_in(run: Make, tmp_path: Path, command: Command) -> None:
    plain, report = tmp_path / "plain", tmp_path / "report"
    options = {"loss_type": "CE", "reweight_min_samples": 6, "counts": (120, 100, 20, 19, 5)}
    run(**options).folder.rename(plain)
    done = run(reweight_type="class_volume", **options)
    printed = next(line for line in done.lines if line.startswith("* accuracy")).split()[-1].rstrip("%")
    said = command("compare", plain, done.folder, "--out", report)
    for words in ("Comparable", "class_volume (min_samples=6)", "LIFT's own result on the test set"):
        assert words in said
    assert "VL-LTR" not in said
    assert "two branches" not in said
    rows = list(csv.DictReader((report / "report.csv").open()))
    test = next(row for row in rows if not row["epoch"] and row["run"] == "output")
    assert float(test["overall"]) == float(printed)
    assert len([row for row in rows if row["epoch"]]) == 4
    assert "100" in command("inspect", done.folder)
    assert inspect_run(done.folder)[0].group.tolist() == ["many", "medium", "medium", "few", "few"]  # LIFT's thresholds
    other = run(loss_type="LA", counts=options["counts"]).folder
    assert "Not comparable: different settings (loss_type)" in command("compare", plain, other)


REFERENCES = [
    ("lift/imagenet_lt", "ImageNet_LT", "CLIP-ViT-B/16", "78.3"),
    ("lift/places_lt/vit_l14", "Places_LT", "CLIP-ViT-L/14", "53.7"),
    ("lift/cifar100_ir100", "CIFAR100_IR100", "CLIP-ViT-B/16", "81.7"),  # listed as an error rate of 18.3
]


@pytest.mark.parametrize(("name", "data", "backbone", "published"), REFERENCES)
def test_a_run_beside_the_published_number_of_its_data_and_backbone(
    name: str, data: str, backbone: str, published: str, tmp_path: Path, command: Command
) -> None:
    for folder, used in (("run", backbone), ("other", "CLIP-RN50")):
        head = HEAD.replace("dataset: CIFAR100_IR100", f"backbone: {used}\ndataset: {data}")
        write(tmp_path / folder / "log.txt", head + EPOCHS + TAIL + result(40.0))
    said = command("compare", tmp_path / "run", "--reference", name)
    row = next(line for line in said.splitlines() if "overall top-1" in line)
    assert f"40.00  {40 - float(published):+.2f}" in row
    assert published in row
    assert "Comparable" in said
    assert "no final test" not in said
    assert "neither the accuracy of the groups nor whether test-time ensembling" in said
    assert "class volume with its difference" not in said  # no published result of LIFT has class volume
    write(tmp_path / "untested" / "log.txt", head.replace(used, backbone) + EPOCHS)
    assert "the run has no final test" in command("compare", tmp_path / "untested", "--reference", name)
    others = command("compare", tmp_path / "other", "--reference", name)
    assert "Not comparable: different settings (backbone)" in others
    foreign = next(one for one, of_data, *_ in REFERENCES if of_data != data)
    assert "is of data set" in command("compare", tmp_path / "run", "--reference", foreign, code=2)


def test_inspect_shows_the_last_run_in_a_folder_whatever_the_times_of_its_files(run: Make, command: Command) -> None:
    """LIFT's log has another name each time, the stand-in's has not; the arrays have one.

    Also where the last run has broken off, as a kill leaves it: inside an epoch, or inside its first one.
    """
    run(reweight_type="class_volume", num_epochs=5)
    folder = run(reweight_type="class_volume", num_epochs=3).folder
    log = (folder / "log.txt").read_text()
    for file in (folder / "reweight").iterdir():
        os.utime(file, (1e9, 1e9))
    os.utime(folder / "reweight/epoch_0004.npz", (2e9, 2e9))
    (found,) = inspect_run(folder)
    assert (found.epoch, found.series.epochs, found.stale) == (2, [0, 1, 2], (3, 4))
    (folder / "log.txt").write_text(log[: log.index("epoch [3/3]")] + batch(4, 1, "1.0", 1.0, epochs=5))
    assert inspect_run(folder)[0].stale == (3, 4)
    (folder / "log.txt").write_text(log[: log.index("epoch [2/3]")])
    assert "the last one there (log.txt) has ended no epoch" in command("inspect", folder, code=2)
    run(num_epochs=2)
    assert "the last one there (log.txt) is a plain one" in command("inspect", folder, code=2)


def test_stored_logits_in_a_run_s_folder_are_compared_by_the_means_over_classes_that_lift_logs(
    tmp_path: Path, command: Command
) -> None:
    write(tmp_path / "run/log.txt", WHOLE)
    counts, images = np.array([300, 200, 50, 40, 10, 5]), np.array([30, 2, 30, 2, 30, 2])
    labels = np.repeat(np.arange(6), images)
    predicted = np.where(labels % 2 == 0, labels, labels - 1)  # even classes are right, odd ones are not
    np.savez(tmp_path / "run/logits.npz", logits=4.0 * np.eye(6)[predicted], labels=labels, counts=counts)
    printed = command("evaluate", "--logits", tmp_path / "run/logits.npz")
    assert "*" not in printed.replace("tau * log", "").replace("alpha * ", "")
    (run,) = load(str(tmp_path / "run/logits")).runs
    assert run.log.test is not None
    found = {name: round(run.log.test[name], 2) for name in ("overall", "many", "medium", "few", "macro", "harmonic")}
    assert found == {"overall": 93.75, "many": 50.0, "medium": 50.0, "few": 50.0, "macro": 50.0, "harmonic": 0.0}
    (run,) = load(str(tmp_path / "run/logits"), convention_of("250,30")).runs  # many: class 0; few: classes 4, 5
    assert run.log.test is not None
    assert [round(run.log.test[name], 2) for name in ("many", "medium", "few")] == [100.0, 33.33, 50.0]
