"""`vlltr-plugin evaluate` in the demo's stand-in checkout."""

import hashlib
import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import Hostile
from report_lines import PNG, files
from report_lines import refused as refused_command

from vlltr_plugin.cli import main
from vlltr_plugin.demo import BASELINE, CLASS_VOLUME, make_standin, run_main
from vlltr_plugin.hosts.evaluation import EvaluateRequest
from vlltr_plugin.hosts.vl_ltr.evaluate import open_trained
from vlltr_plugin.install import install, uninstall

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.usefixtures("forked")

FLOAT32 = 1e-6  # relative: the host's accuracies are float32 means
ONE_BRANCH = "configs/digits/finetune/one_branch.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in with the plug-in installed and two runs of two epochs, not to be written to."""
    checkout = make_standin(tmp_path_factory.mktemp("evaluate") / "standin")
    install(checkout)
    (checkout / ONE_BRANCH).write_text('_base_ = ["./digits_baseline.py"]\ncfg = dict(two_branch=False)\n')
    run_main(checkout, CLASS_VOLUME, "--epochs", "2")
    run_main(checkout, ONE_BRANCH, "--epochs", "2")
    return checkout


@pytest.fixture
def checkout(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "standin"))


def arguments_of(checkout: Path, config: str | None, *more: str, run: str | None = None) -> list[str]:
    checkpoint = checkout / "checkpoints" / (run or Path(config or CLASS_VOLUME).stem) / "checkpoint.pth"
    named = ["--config", config] if config else []
    return ["evaluate", str(checkpoint), *named, "--checkout", str(checkout), "--device=cpu", *more]


def call(checkout: Path, *arguments: Any, **run: str) -> int:
    return main(arguments_of(checkout, *arguments, **run))


def refused(checkout: Path, capsys: pytest.CaptureFixture[str], *arguments: Any, **run: str | None) -> str:
    return refused_command(capsys, checkout, *arguments_of(checkout, *arguments, **run))


def evaluation(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def log(checkout: Path, config: str) -> list[dict[str, Any]]:
    text = (checkout / "checkpoints" / Path(config).stem / "log.txt").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_writes_json_csv_and_pictures_beside_the_checkpoint_and_nothing_else(checkout):
    before = files(checkout)
    assert call(checkout, CLASS_VOLUME) == 0
    folder = checkout / "checkpoints/digits_dv/evaluation"
    names = {"evaluation.json", "per_class.csv", "reliability.png", "confusion.png"}
    names |= {"tradeoff.csv", "tradeoff.npz", "tradeoff.png"}
    assert files(checkout) - before == {folder, *(folder / name for name in names)}
    assert all(path.read_bytes().startswith(PNG) for path in folder.glob("*.png"))
    found = evaluation(folder)
    for key, path in (("checkpoint", folder.parent / "checkpoint.pth"), ("config", checkout / CLASS_VOLUME)):
        assert found[key]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    labels = np.load(checkout / "data/digits/test.npz")["labels"].astype("<i8")
    assert found["labels_sha256"] == hashlib.sha256(labels.tobytes()).hexdigest()
    assert found["checkpoint"]["epoch"] == 1
    assert (found["split"], found["images"], found["split_images"], found["classes"]) == ("test", 360, 360, 10)


@pytest.mark.parametrize("config", [CLASS_VOLUME, ONE_BRANCH])
def test_numbers_equal_the_hosts_own_log_and_tau_is_chosen_on_the_validation_split(checkout, config):
    def evaluated(*more: str) -> dict[str, Any]:
        assert call(checkout, config, *more) == 0
        return evaluation(checkout / "checkpoints" / Path(config).stem / "evaluation")

    *_, val, test = log(checkout, config)
    found = evaluated()
    losses = {"visual": "loss0", "image_text": "loss1", "single": "loss"}
    for line, content in ((test, found), (val, evaluated("--split", "val"))):
        numbers = {key: line[f"test_{key}"] for key in content["host_log"]}
        assert content["host_log"] == pytest.approx(numbers, rel=FLOAT32)
        for rule in content["rules"].keys() & losses.keys():
            assert content["rules"][rule]["cross_entropy"] == pytest.approx(line[f"test_{losses[rule]}"], rel=1e-5)
    names = {"top1": "acc1", "many": "many", "medium": "median", "few": "low"}
    rows, choice = found["trade_off"]["rows"], found["trade_off"]["choice"]
    assert {name: rows[0][name] for name in names} == {name: found["host_log"][key] for name, key in names.items()}
    assert (choice["split"], choice["same_images"], choice["why_here"]) == ("val", False, "")
    assert choice["top1"][0] == pytest.approx(val["test_acc1"], rel=FLOAT32)
    choice = evaluated("--choose-tau", "here")["trade_off"]["choice"]
    assert (choice["split"], choice["same_images"]) == ("test", True)
    assert choice["top1"] == [row["top1"] for row in rows]


def test_without_a_validation_split_tau_is_chosen_on_the_test_set_and_that_is_said(checkout, capsys):
    (checkout / "data/digits/val.npz").unlink()
    assert call(checkout, CLASS_VOLUME) == 0
    printed = capsys.readouterr().out
    assert "chosen on the test set itself" in printed
    assert "No validation split to choose tau on: " in printed
    assert "val.npz" in evaluation(checkout / "checkpoints/digits_dv/evaluation")["trade_off"]["choice"]["why_here"]
    assert "val.npz" in refused(checkout, capsys, CLASS_VOLUME, "--choose-tau", "val")


def test_the_prior_is_the_expected_draws_of_the_run_or_the_counts(checkout):
    """By the adjusted logits of the whole split, a class at a time in float64."""
    counts = np.bincount(np.load(checkout / "data/digits/train.npz")["labels"]).astype(float)
    predicted = {}
    for config, prior, values, source in (
        (CLASS_VOLUME, "draws", np.sqrt(counts), "in the checkpoint"),
        (ONE_BRANCH, "draws", np.sqrt(counts), "1/sqrt(n)"),  # from the config
        (ONE_BRANCH, "counts", counts, "training images"),
    ):
        assert call(checkout, config, "--prior", prior, "--tau", "0.1") == 0
        folder = checkout / "checkpoints" / Path(config).stem / "evaluation"
        told = evaluation(folder)["trade_off"]
        assert source in told["prior_source"]
        assert (told["prior"], told["taus"]) == (prior, [0, 0.1])
        rule = "sum" if config == CLASS_VOLUME else "single"
        expected = sum(logits - 0.1 * np.log(values) for logits in logits_of(checkout, config)).argmax(1)
        with np.load(folder / "tradeoff.npz") as arrays:
            assert (arrays[f"predictions_{rule}"][1] == expected).mean() > 0.99  # float32 against float64
            assert np.array_equal(arrays["counts"], counts)
        predicted[rule, prior] = expected
    assert not np.array_equal(predicted["single", "draws"], predicted["single", "counts"])  # else it would not matter


def logits_of(checkout: Path, config: str) -> list[np.ndarray]:
    """Of the test split, each branch's."""
    batches: list[list[np.ndarray]] = []

    class Kept:
        def add(self, outputs, labels) -> None:
            branches = [outputs] if isinstance(outputs, torch.Tensor) else outputs
            batches.append([branch.double().numpy() for branch in branches])

    folder = checkout / "checkpoints" / Path(config).stem
    request = EvaluateRequest(folder, checkout / config, checkout, split="test", device="cpu")
    with open_trained(request, lambda done, total: None) as model:
        model.predict(Kept(), "test")
    return [np.concatenate(column) for column in zip(*batches, strict=True)]


def test_options_reach_the_evaluation(checkout, tmp_path):
    out = tmp_path / "elsewhere"
    host_args = ("--host-args", "--data-path data/digits --epochs 7")
    assert call(checkout, CLASS_VOLUME, "--limit", "9", "--batch-size", "4", "--out", str(out), *host_args) == 0
    found = evaluation(out)
    assert (found["images"], found["split_images"], found["limit"]) == (9, 360, 9)
    assert found["settings"]["batch_size"] == 4
    labels = np.load(checkout / "data/digits/test.npz")["labels"]
    evenly = labels[[position * 360 // 9 for position in range(9)]].astype("<i8")
    assert found["labels_sha256"] == hashlib.sha256(evenly.tobytes()).hexdigest()


def test_an_uninstalled_checkout_is_evaluated_too_and_the_model_is_in_eval_mode(checkout):
    uninstall(checkout)
    with (checkout / "models/finetune.py").open("a") as file:
        file.write(
            "\n\nforward = DigitsLGR.forward\n\n\ndef checked(self, images):\n    assert not self.training\n"
            "    return forward(self, images)\n\n\nDigitsLGR.forward = checked\n"
        )
    assert call(checkout, CLASS_VOLUME, "--limit", "5") == 0


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_pickle_is_refused_and_never_run(checkout, tmp_path, capsys, legacy):
    run = checkout / "checkpoints/hostile"
    run.mkdir()
    payload = {"model": {"x": torch.zeros(1)}, "args": Hostile(tmp_path / "executed")}
    torch.save(payload, run / "checkpoint.pth", _use_new_zipfile_serialization=not legacy)
    assert "could run code" in refused(checkout, capsys, CLASS_VOLUME, run="hostile")
    (run / "checkpoint.pth").write_bytes(pickle.dumps(Hostile(tmp_path / "executed")))
    refused(checkout, capsys, CLASS_VOLUME, run="hostile")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 100, b"PK\x03\x04 but no more", "half", "no model"])
def test_a_file_that_is_no_checkpoint_is_refused(checkout, capsys, content):
    path = checkout / "checkpoints/digits_dv/checkpoint.pth"
    if content == "no model":
        torch.save({"epoch": 3}, path)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if isinstance(content, str) else content)
    error = refused(checkout, capsys, CLASS_VOLUME)
    assert "checkpoint.pth" in error
    assert ("`model`, the parameters" in error) == (content == "no model")


@pytest.mark.parametrize(
    ("file", "text", "config", "run", "message"),
    [
        (
            "datasets.py",
            "\nraise SyntaxWarning('two\\nlines')\n",
            CLASS_VOLUME,
            None,
            "failed: SyntaxWarning: two lines",
        ),
        ("configs/one.py", "cfg = dict(pretrain_cvlp=True)\n", "configs/one.py", "digits_dv", "pre-training stage"),
        ("empty.py", "", CLASS_VOLUME, "one_branch", "text_branch"),
        ("empty.py", "", ONE_BRANCH, "digits_dv", "left over"),
    ],
)
def test_a_config_of_something_else_and_failing_host_code_are_one_line(
    checkout, capsys, file, text, config, run, message
):
    with (checkout / file).open("a") as stream:
        stream.write(text)
    assert message in refused(checkout, capsys, config, run=run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CLASS_VOLUME, "--limit", "0"], "limit to be 1 or more"),
        ([CLASS_VOLUME, "--batch-size", "-3"], "batch-size to be 1 or more"),
        ([CLASS_VOLUME, "--host-args", "--no-such-option 3"], "own parser refused"),
        ([CLASS_VOLUME, "--host-args", "'open"], "as in a shell"),
        ([CLASS_VOLUME, "--host-args", "--data-path x"], "x/train.npz"),
        (["configs/missing.py"], "no file configs/missing.py"),
        (["{checkout}/main.py", "--checkout", "{checkout}/data"], "has no main.py"),
        ([CLASS_VOLUME, "--out", "{checkout}/main.py"], "is a file"),
    ],
)
def test_wrong_arguments_are_one_line(checkout, capsys, arguments, message):
    arguments = [argument.format(checkout=checkout) for argument in arguments]
    # a config that sets data_path would win over --host-args
    text = (checkout / BASELINE).read_text()
    (checkout / BASELINE).write_text(text.replace('data_path="data/digits",', ""))
    assert message in refused(checkout, capsys, *arguments, run="digits_dv")


def test_a_runs_folder_and_parameters_alone_are_evaluated_like_the_checkpoint_with_its_config(checkout, tmp_path):
    path = checkout / "checkpoints/digits_dv/checkpoint.pth"
    assert call(checkout, CLASS_VOLUME) == 0
    whole = evaluation(path.parent / "evaluation")
    common = ["--checkout", str(checkout), "--device=cpu", "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(path.parent), *common]) == 0
    by_folder = evaluation(tmp_path / "out")
    for key in ("rules", "checkpoint"):
        assert by_folder[key] == whole[key]
    assert by_folder["config"]["sha256"] == whole["config"]["sha256"]
    torch.save(torch.load(path, weights_only=False)["model"], path)
    assert call(checkout, CLASS_VOLUME) == 0
    alone = evaluation(path.parent / "evaluation")
    assert alone["rules"] == whole["rules"]
    assert alone["checkpoint"]["epoch"] is None


@pytest.mark.parametrize("named", [None, "", 3, "configs/gone.py", "../elsewhere.py"])
def test_a_config_that_the_checkpoint_does_not_name_in_the_checkout_is_asked_for(checkout, capsys, named):
    (checkout.parent / "elsewhere.py").write_text("raise SystemExit('was run')\n")
    path = checkout / "checkpoints/digits_dv/checkpoint.pth"
    saved = torch.load(path, weights_only=False)
    saved["args"].config = named
    torch.save(saved, path)
    assert "give the config that it was trained with" in refused(checkout, capsys, None)


@pytest.mark.parametrize("missing", [["matplotlib"], ["torchmetrics"], ["matplotlib", "torchmetrics"]])
def test_missing_libraries_are_named_in_one_message_with_their_extra_before_any_work(
    checkout, capsys, monkeypatch, missing
):
    for library in missing:
        monkeypatch.setitem(sys.modules, library, None)
    (checkout / "main.py").unlink()  # would be found out next
    error = refused(checkout, capsys, CLASS_VOLUME)
    assert f"Expected {' and '.join(missing)}, but" in error
    assert "[report]" in error
