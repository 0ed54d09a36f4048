"""Runs of the stand-in's own main.py: formats, resume, evaluation, two processes."""

import numpy as np
import pytest

from vlltr_plugin.demo import BASELINE, CLASS_VOLUME, make_standin, run_main
from vlltr_plugin.runs.checkpoint_args import load_safely


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    """A checkout that runs here, like the host, only after the compat import."""
    checkout = make_standin(tmp_path_factory.mktemp("runs") / "standin")
    docstring, rest = (checkout / "main.py").read_text().split("\n\n", 1)
    (checkout / "main.py").write_text(f"{docstring}\n\nimport vlltr_plugin.compat\n{rest}")
    return checkout


@pytest.fixture(scope="module")
def two_epochs(standin):
    return run_main(standin, BASELINE, "--epochs", "2")


def load_checkpoint(checkout, run="digits_baseline"):
    return load_safely(checkout / "checkpoints" / run / "checkpoint.pth")


def test_checkpoint_has_the_hosts_keys_the_frozen_embeddings_and_the_config_over_the_command_line(two_epochs, standin):
    checkpoint = load_checkpoint(standin)
    assert set(checkpoint) == {"model", "optimizer", "lr_scheduler", "epoch", "scaler", "args"}
    assert checkpoint["epoch"] == 1
    embeddings = np.load(standin / "data" / "digits" / "text_embeddings.npy")
    assert np.array_equal(checkpoint["model"]["text_branch.text_embeddings"].numpy(), embeddings)
    args, folder = checkpoint["args"], "checkpoints/digits_baseline"
    assert (args.two_branch, args.use_sqrt_freq, args.batch_size, args.epochs) == (True, True, 32, 2)
    assert (args.output_dir, args.resume) == (folder, f"{folder}/checkpoint.pth")


def test_second_start_resumes_at_the_next_epoch(two_epochs, standin):
    lines = run_main(standin, BASELINE, "--epochs", "3")
    assert [line.get("epoch") for line in lines] == [0, 1, None, 2, None]
    assert load_checkpoint(standin)["epoch"] == 2


def test_evaluation_appends_a_comment_and_a_result_and_changes_nothing(two_epochs, standin):
    folder = standin / "checkpoints" / "digits_baseline"
    text_before, saved_before = (folder / "log.txt").read_text(), (folder / "checkpoint.pth").read_bytes()
    *_, trained, evaluated = run_main(standin, BASELINE, "--eval")
    assert evaluated == pytest.approx(trained)
    assert (folder / "log.txt").read_text().removeprefix(text_before).startswith("# epoch=")
    assert (folder / "checkpoint.pth").read_bytes() == saved_before


def test_the_class_volume_config_is_the_baseline_to_a_checkout_without_the_hook(two_epochs, standin):
    assert run_main(standin, CLASS_VOLUME, "--epochs", "2") == two_epochs[:3]


def test_two_processes_train_together(two_epochs, standin):
    output = ("--output_dir", "checkpoints/two")
    first, *_ = run_main(standin, BASELINE, "--epochs", "1", *output, processes=2)
    assert first.keys() == two_epochs[0].keys()
    assert load_checkpoint(standin, "two")["args"].world_size == 2


def test_failed_run_says_what_it_printed(standin):
    with pytest.raises(RuntimeError, match=r"(?s)status 1.*nowhere"):
        run_main(standin, BASELINE, "--epochs", "1", "--device", "nowhere")
