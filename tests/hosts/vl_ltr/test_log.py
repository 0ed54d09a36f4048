"""Reading VL-LTR's log.txt, and the arguments and times that a run printed."""

import argparse
import json

import pytest

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.log import find_stdout_log, parse_namespace, read_log


def write(path, *texts):
    path.write_text("".join(f"{text if isinstance(text, str) else json.dumps(text)}\n" for text in texts))
    return path


def epoch(number, acc1=50.0):
    return {"train_loss": 1.0, "test_acc1": acc1, "epoch": number}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.txt"


CUT = '{"train_loss": 1.0, "te'
ZEROS = "\0" * 50
FINAL = {"test_acc1": 30.0}
READ = {
    "a run and its test": ([epoch(0), epoch(1), FINAL], [0, 1], FINAL, {}),
    "blank lines and comments": (
        ["", "# epoch=0, task=x", epoch(0), "", {"val_acc1": 3.0}, "#", "  ", FINAL], [0], FINAL,
        {5: "the validation split alone"}),
    "a line glued to a cut one": (
        [epoch(0), CUT + json.dumps(epoch(1)), '{"train_'], [0, 1], None, {2: "only in part", 3: "only in part"}),
    # Zeros that a power failure left cost their line alone.
    "zeros": ([epoch(0), ZEROS + json.dumps(epoch(1)), epoch(2)], [0, 1, 2], None, {2: "only in part"}),
    "zeros after a cut line": (
        [epoch(0), CUT + ZEROS + json.dumps(epoch(1)), epoch(2)], [0, 1, 2], None, {2: "only in part"}),
    "zeros at the start": ([ZEROS, epoch(3)], [3], None, {1: "only in part"}),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "epochs", "test", "left_out"), READ.values(), ids=READ)
def test_whole_lines_are_read_and_others_named(path, lines, epochs, test, left_out):
    log = read_log(write(path, *lines))
    assert [(number, line["test_acc1"]) for number, line in log.epochs.items()] == [(n, 50.0) for n in epochs]
    assert log.test == test
    named = [warning for warning in log.warnings if ", line " in warning]
    assert len(named) == len(left_out)
    for warning, (number, words) in zip(named, left_out.items(), strict=True):
        assert warning.startswith(f"{path}, line {number}:")
        assert words in warning


def test_missing_and_discarded_epochs_are_named(path):
    log = read_log(write(path, epoch(0), epoch(4), epoch(5), epoch(6), epoch(2)))
    assert f"{path}: no line for epoch 1" in log.warnings
    assert any("now at epoch 2; 3 later ones up to 6 were discarded" in warning for warning in log.warnings)
    absurd = read_log(write(path, epoch(0), epoch(10**15)))  # costs no memory
    assert f"{path}: no line for epoch 1-{10**15 - 1}" in absurd.warnings


@pytest.mark.parametrize(
    ("written", "left", "abandoned"),
    [
        ([*range(10), 5, 6], range(7), (7, 8, 9)),
        ([*range(10), 5, 6, 7, 8, 9, 10], range(11), ()),
        ([*range(10), 5, 6, 3], range(4), (4, 5, 6, 7, 8, 9)),
        ([*range(10), 5, 3, 4, 5, 6], range(7), (7, 8, 9)),
        ([*range(10), 9], range(10), ()),
        ([*range(10), 5, 5], range(6), (6, 7, 8, 9)),
        ([*range(10), 0, 1], range(2), tuple(range(2, 10))),
        ([*range(10), 5, 8], [*range(6), 8], (9,)),
    ],
)
def test_a_resume_replaces_what_came_after_it(path, written, left, abandoned):
    lines = [epoch(number, 10.0 * number + place) for place, number in enumerate(written)]
    log = read_log(write(path, *lines))
    assert list(log.epochs) == list(left)
    assert log.abandoned == abandoned
    latest = {number: place for place, number in enumerate(written)}
    assert {n: line["test_acc1"] for n, line in log.epochs.items()} == {n: 10.0 * n + latest[n] for n in left}
    assert any("were discarded" in warning for warning in log.warnings) == bool(abandoned)


TEST, OTHER = {"test_acc1": 1.0}, {"test_acc1": 2.0}
RUN = [epoch(0), TEST]
TESTED = [
    ([*RUN, "# epoch=0, task=x", {"val_acc1": 31.25}], TEST, "epoch 0 on the validation split alone (val_acc1 31.25)"),
    ([*RUN, "# epoch=0, task=x", {"train_acc1": 31.25}], TEST, "of epoch 0 on the training split alone (train_acc1"),
    ([*RUN, "", {"val_acc1": 31.25, "val_many": 2.0}], TEST, "an evaluation on the validation split alone (val_acc1 3"),
    ([*RUN, "", {"n_parameters": 3}], TEST, "line 4: left out, an evaluation on no split alone (n_parameters)"),
    ([*RUN, "", OTHER], TEST, "line 4: left out, a test without a checkpoint, after a test of this run"),
    ([*RUN, "# epoch=7, task=x", OTHER], TEST, "line 4: left out, a test of epoch 7, not of 0"),
    ([*RUN, CUT + "# epoch=7, task=x", OTHER], TEST, "line 4: left out, a test of epoch 7, not of 0"),
    ([*RUN, epoch(1)], None, "line 3: training went on after a test result"),
    ([epoch(0), epoch(1), TEST, epoch(0), "# epoch=1, task=x", OTHER], None, "a test of epoch 1, not of 0"),
    ([epoch(9), TEST, "# epoch=4, task=x", OTHER], TEST, "a test of epoch 4, not of 9"),
    ([epoch(9), TEST, "# epoch=9, task=x", OTHER], OTHER, "2 test results that differ"),
]


@pytest.mark.parametrize(("lines", "test", "words"), TESTED)
def test_a_test_of_the_last_epoch_counts_and_each_other_result_is_named(path, lines, test, words):
    log = read_log(write(path, *lines))
    assert log.test == test
    assert any(words in warning for warning in log.warnings)


def test_only_numbers_are_kept(path):
    line = {**epoch(0), "classes": [1.0] * 5, "name": "x", "flag": True, "huge": 10**400, "none": None}
    assert read_log(write(path, line)).epochs[0] == epoch(0)


REFUSED = {
    b"": "log.txt: expected the JSON lines of a VL-LTR log, but the file is empty",
    b"\n \n": "the file is empty",
    b"PK\x03\x04\x00\x00": "line 1: .* binary file",
    b'{"epoch": 0, "test_acc1": 1}\n\xff\xfe\n': "line 2: expected text in UTF-8",
    b'{"epoch": 0, "test_acc1": 1}\nNaN%\n': "line 2: expected a JSON object, but got 'NaN%'",
    b'\n{"epoch": 0, "test_acc1": x}\n': "line 2: not JSON: Expecting value at character 27",
    b'{"epoch": -1, "test_acc1": 1}\n': "line 1: expected `epoch` to be a whole number",
    b'{"epoch": "0", "test_acc1": 1}\n': "line 1: expected `epoch` to be a whole number",
    b"# epoch=3\n": "no line holds one",
    b'# epoch=3, task=x\n{"val_acc1": 3.0}\n': "no line holds one .*validation split alone",
    b'{"epoch": 0, "test_text_acc1": 1}\n': "results of stage two",
}


@pytest.mark.parametrize(("content", "message"), REFUSED.items())
def test_a_log_that_cannot_be_used_is_refused_in_one_line_with_the_place(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ReportError, match=message) as caught:
        read_log(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


ARGS = {"epochs": 9, "data_set": "INAT", "reweight": {"type": "none"}}


def printed(epochs, seconds_per_batch=0.5, training_time=""):
    """What one start prints, 20 batches an epoch."""
    lines = [repr(argparse.Namespace(**ARGS)), "Start training for 9 epochs"]
    for number in epochs:
        lines += [f"Epoch: [{number}]  [{batch:2d}/20]  eta: 0:00:09  loss: 5.0 (5.0)" for batch in (0, 10)]
        clock = f"0:00:{int(20 * seconds_per_batch):02d}"
        lines.append(f"Epoch: [{number}] Total time: {clock} ({seconds_per_batch:.4f} s / it)")
        lines.append("Test: Total time: 0:00:01 (0.1 s / it)")
    return "\n".join([*lines, f"Training time {training_time}" * bool(training_time)]) + "\n"


@pytest.mark.parametrize(
    ("starts", "epoch_seconds", "training_seconds"),
    [
        ([printed([0, 1], 0.5125, "1 day, 2:03:04")], {0: 10.25, 1: 10.25}, 86400 + 2 * 3600 + 3 * 60 + 4),
        ([printed([0], training_time="10:01:00")], {0: 10.0}, 36060),
        ([printed([0], training_time="2 days, 0:00:01")], {0: 10.0}, 172801),
        ([printed([0, 1]), printed([1, 2], 0.25, "0:00:20")], {0: 10.0, 1: 5.0, 2: 5.0}, None),
        # A start that goes back replaces the times of later epochs.
        ([printed(range(4), 0.5, "0:00:40"), printed([1], 0.25)], {0: 10.0, 1: 5.0}, None),
        # Starting a finished run again does not replace its training time.
        ([printed([0, 1], 0.5, "0:00:20"), printed([], training_time="0:00:01")], {0: 10.0, 1: 10.0}, 20),
    ],
)
def test_times_of_the_starts_of_a_run(tmp_path, starts, epoch_seconds, training_seconds):
    (tmp_path / "train.log").write_text("".join(starts))
    log = find_stdout_log(tmp_path)
    assert log.epoch_seconds == pytest.approx(epoch_seconds)
    assert log.training_seconds == training_seconds
    assert (log.args, log.starts) == (ARGS, len(starts))


UNENDED = ["Test: Total time: 0:00:03 (0.1 s / it)\n", "CUDA out of memory\n", "Epoch: [2]  [ 0/20]  eta: 0:00:09\n"]


@pytest.mark.parametrize("said", UNENDED)
def test_the_settings_are_those_of_the_last_start_that_ended_an_epoch(tmp_path, said):
    last = "Namespace(epochs=9, eval=True, batch_size=999)\n"
    (tmp_path / "train.log").write_text(printed([0, 1]) + last + said)
    assert find_stdout_log(tmp_path).args == ARGS
    (tmp_path / "train.log").write_text(last + said)
    assert find_stdout_log(tmp_path).args == {"epochs": 9, "eval": True, "batch_size": 999}


def test_other_output_is_skipped_and_whole_seconds_are_used_without_batch_counts(tmp_path):
    assert find_stdout_log(tmp_path) is None
    (tmp_path / "train.log").write_bytes(b"\xff\x00\xfe\nEpoch: [0] Total time: 0:00:12 (0.6000 s / it)\n")
    assert find_stdout_log(tmp_path).epoch_seconds == {0: 12.0}


@pytest.mark.parametrize("text", ["Namespace(", "Namespace(a=1) + 2", "dict(a=1)", "Namespace(" + "(" * 10_000])
def test_namespace_values_are_literals_only(tmp_path, text):
    mark = tmp_path / "mark"
    whole = f"Namespace(lr=0.5, betas=(0.9, None), d=device(type='cpu'), x=open({str(mark)!r}, 'w'), **{{'a-b': 1}})"
    assert parse_namespace(whole) == {"lr": 0.5, "betas": (0.9, None), "a-b": 1}
    assert not mark.exists()
    assert parse_namespace(text) == {}
