"""Arguments and times from what a run printed."""

import argparse

import pytest

from vlltr_plugin.hosts.vl_ltr.stdout_log import find_stdout_log, parse_clock, parse_namespace, read_stdout_log


def printed(epochs, batches=20, seconds_per_batch=0.5):
    """Output of one start, in the host's layout."""
    lines = [
        repr(argparse.Namespace(epochs=9, data_set="INAT", reweight={"type": "none"})),
        "Start training for 9 epochs",
    ]
    for epoch in epochs:
        lines += [f"Epoch: [{epoch}]  [{i:2d}/{batches}]  eta: 0:00:09  loss: 5.0 (5.0)" for i in range(0, batches, 10)]
        clock = f"0:00:{int(batches * seconds_per_batch):02d}"
        lines += [
            f"Epoch: [{epoch}] Total time: {clock} ({seconds_per_batch:.4f} s / it)",
            "Test: Total time: 0:00:01 (0.1 s / it)",
        ]
    return "\n".join(lines) + "\n"


def test_times_of_one_start(tmp_path):
    (tmp_path / "train.log").write_text(printed([0, 1], seconds_per_batch=0.5125) + "Training time 1 day, 2:03:04\n")
    log = find_stdout_log(tmp_path)
    assert log.epoch_seconds == {0: pytest.approx(10.25), 1: pytest.approx(10.25)}
    assert log.training_seconds == 86400 + 2 * 3600 + 3 * 60 + 4
    assert (log.args, log.starts) == ({"epochs": 9, "data_set": "INAT", "reweight": {"type": "none"}}, 1)


def test_a_restarted_run_has_no_training_time_and_the_later_epochs_count(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(printed([0, 1]) + printed([1, 2], seconds_per_batch=0.25) + "Training time 0:00:20\n")
    log = read_stdout_log(path)
    assert log.epoch_seconds == {0: 10.0, 1: 5.0, 2: 5.0}
    assert (log.training_seconds, log.starts) == (None, 2)


def test_a_start_that_goes_back_takes_the_times_of_later_epochs_with_it(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(printed(range(10)) + "Training time 0:02:00\n" + printed([5, 6], seconds_per_batch=0.25))
    log = read_stdout_log(path)
    assert log.epoch_seconds == {**dict.fromkeys(range(5), 10.0), 5: 5.0, 6: 5.0}
    assert log.training_seconds is None


def test_starting_a_finished_run_again_does_not_replace_its_training_time(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(printed([0, 1]) + "Training time 0:00:20\n" + printed([]) + "Training time 0:00:01\n")
    assert read_stdout_log(path).training_seconds == 20


@pytest.mark.parametrize(
    "said",
    [
        "Test: Total time: 0:00:03 (0.1 s / it)\n",
        "CUDA out of memory\n",
        "Epoch: [2]  [ 0/20]  eta: 0:00:09\n",  # killed there: no line of the results is its
    ],
)
def test_a_start_that_trained_nothing_tells_none_of_the_settings(tmp_path, said):
    path = tmp_path / "train.log"
    last = "Namespace(epochs=9, eval=True, batch_size=999)\n"
    path.write_text(printed([0, 1]) + last + said)
    assert read_stdout_log(path).args == {"epochs": 9, "data_set": "INAT", "reweight": {"type": "none"}}
    path.write_text(last + said)
    assert read_stdout_log(path).args == {"epochs": 9, "eval": True, "batch_size": 999}


def test_without_batch_counts_the_whole_seconds_serve(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("Epoch: [0] Total time: 0:00:12 (0.6000 s / it)\n")
    assert read_stdout_log(path).epoch_seconds == {0: 12.0}


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    path = tmp_path / "train.log"
    path.write_bytes(b"\xff\x00\xfe\n" + printed([0]).encode())
    assert list(read_stdout_log(path).epoch_seconds) == [0]


def test_namespace_values_are_literals_only(tmp_path):
    mark = tmp_path / "mark"
    text = f"Namespace(lr=0.5, betas=(0.9, None), d=device(type='cpu'), x=open({str(mark)!r}, 'w'), **{{'a-b': 1}})"
    assert parse_namespace(text) == {"lr": 0.5, "betas": (0.9, None), "a-b": 1}
    assert not mark.exists()


@pytest.mark.parametrize("text", ["Namespace(", "Namespace(a=1) + 2", "dict(a=1)", "Namespace(" + "(" * 10_000])
def test_what_is_no_namespace_gives_no_arguments(text):
    assert parse_namespace(text) == {}


def test_clocks():
    assert [parse_clock(text) for text in ("0:00:07", "10:01:00", "2 days, 0:00:01")] == [7, 36060, 172801]


def test_a_folder_without_output_has_none(tmp_path):
    assert find_stdout_log(tmp_path) is None
