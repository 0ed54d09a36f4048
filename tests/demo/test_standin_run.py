"""Runs of the stand-in's own main.py: formats, resume, evaluation, two processes."""

import numpy as np
import pytest

from vlltr_plugin.demo import BASELINE, CLASS_VOLUME, run_main
from vlltr_plugin.runs.checkpoint_args import load_safely

LOSSES = {"loss", "loss0", "loss1"}
ACCURACIES = {"acc0_1", "acc0_5", "acc1_1", "acc1_5", "acc1", "acc5", "many", "median", "low", "10-shot", "5-shot"}
TEST_KEYS = {f"test_{key}" for key in LOSSES | ACCURACIES}
EPOCH_KEYS = TEST_KEYS | {f"train_{key}" for key in LOSSES | {"lr"}} | {"epoch", "n_parameters"}


@pytest.fixture(scope="module")
def two_epochs(standin):
    return run_main(standin, BASELINE, "--epochs", "2")


def load_checkpoint(checkout, run):
    return load_safely(checkout / "checkpoints" / run / "checkpoint.pth")


def test_log_has_a_line_per_epoch_and_one_for_the_test_split(two_epochs):
    assert [line.get("epoch") for line in two_epochs] == [0, 1, None]
    assert all(set(line) == EPOCH_KEYS for line in two_epochs[:2])
    assert set(two_epochs[2]) == TEST_KEYS
    assert two_epochs[1]["train_loss"] < two_epochs[0]["train_loss"]
    line = two_epochs[0]
    assert line["train_loss"] == pytest.approx(line["train_loss0"] + line["train_loss1"])


def test_checkpoint_has_the_hosts_keys_and_the_frozen_embeddings(two_epochs, standin):
    checkpoint = load_checkpoint(standin, "digits_baseline")
    assert set(checkpoint) == {"model", "optimizer", "lr_scheduler", "epoch", "scaler", "args"}
    assert checkpoint["epoch"] == 1
    assert checkpoint["args"].two_branch is True
    embeddings = np.load(standin / "data" / "digits" / "text_embeddings.npy")
    assert np.array_equal(checkpoint["model"]["text_branch.text_embeddings"].numpy(), embeddings)


def test_config_goes_over_the_command_line_and_names_the_output_folder(two_epochs, standin):
    arguments = load_checkpoint(standin, "digits_baseline")["args"]
    assert (arguments.use_sqrt_freq, arguments.batch_size, arguments.epochs) == (True, 32, 2)
    assert arguments.output_dir == "checkpoints/digits_baseline"
    assert arguments.resume == "checkpoints/digits_baseline/checkpoint.pth"


def test_second_start_resumes_at_the_next_epoch(two_epochs, standin):
    lines = run_main(standin, BASELINE, "--epochs", "3")
    assert [line.get("epoch") for line in lines] == [0, 1, None, 2, None]
    assert load_checkpoint(standin, "digits_baseline")["epoch"] == 2


def test_evaluation_appends_a_comment_and_a_result_and_changes_nothing(two_epochs, standin):
    log = standin / "checkpoints" / "digits_baseline" / "log.txt"
    checkpoint = standin / "checkpoints" / "digits_baseline" / "checkpoint.pth"
    text_before, saved_before = log.read_text(), checkpoint.read_bytes()
    *_, trained, evaluated = run_main(standin, BASELINE, "--eval")
    assert evaluated == pytest.approx(trained)
    assert log.read_text().removeprefix(text_before).startswith("# epoch=")
    assert checkpoint.read_bytes() == saved_before


def test_the_class_volume_config_is_the_baseline_to_a_checkout_without_the_hook(two_epochs, standin):
    assert run_main(standin, CLASS_VOLUME, "--epochs", "2") == two_epochs[:3]


def test_two_processes_train_together(standin):
    output = ("--output_dir", "checkpoints/two")
    first, *_ = run_main(standin, BASELINE, "--epochs", "1", *output, processes=2)
    assert set(first) == EPOCH_KEYS
    assert load_checkpoint(standin, "two")["args"].world_size == 2


def test_failed_run_says_what_it_printed(standin):
    with pytest.raises(RuntimeError, match=r"(?s)status 1.*nowhere"):
        run_main(standin, BASELINE, "--epochs", "1", "--device", "nowhere")
