"""Reading VL-LTR's log.txt."""

import json

import pytest

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.log import read_log


def write(path, *texts):
    path.write_text("".join(f"{text if isinstance(text, str) else json.dumps(text)}\n" for text in texts))
    return path


def epoch(number, acc1=50.0):
    return {"train_loss": 1.0, "test_acc1": acc1, "epoch": number}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.txt"


def test_the_later_line_of_a_repeated_epoch_counts(path):
    log = read_log(write(path, epoch(0), epoch(1, 10.0), epoch(1, 20.0), epoch(2), {"test_acc1": 30.0}))
    assert list(log.epochs) == [0, 1, 2]
    assert log.epochs[1]["test_acc1"] == 20.0
    assert log.test == {"test_acc1": 30.0}
    assert log.warnings == ()


def test_blank_lines_and_comments_are_passed_over(path):
    log = read_log(write(path, "", "# epoch=0, task=x", epoch(0), "", {"val_acc1": 3.0}, "#", "  ", {"test_acc1": 2.0}))
    assert list(log.epochs) == [0]
    assert log.test == {"test_acc1": 2.0}


def test_without_a_test_line_there_is_no_test(path):
    assert read_log(write(path, epoch(0))).test is None


def test_a_test_before_further_training_does_not_count(path):
    log = read_log(write(path, epoch(0), {"test_acc1": 1.0}, epoch(1)))
    assert log.test is None
    assert "line 3: training went on after a test result" in log.warnings[0]


def test_a_test_of_another_epochs_checkpoint_does_not_count(path):
    log = read_log(write(path, epoch(9), {"test_acc1": 1.0}, "# epoch=4, task=x", {"test_acc1": 2.0}))
    assert log.test == {"test_acc1": 1.0}
    assert any("a test of epoch 4, not of 9" in warning for warning in log.warnings)
    again = read_log(write(path, epoch(9), {"test_acc1": 1.0}, "# epoch=9, task=x", {"test_acc1": 2.0}))
    assert again.test == {"test_acc1": 2.0}
    assert any("2 test results that differ" in warning for warning in again.warnings)


def test_a_cut_line_is_left_out_with_a_warning_and_the_glued_one_is_kept(path):
    log = read_log(write(path, epoch(0), '{"train_loss": 1.0, "te' + json.dumps(epoch(1)), '{"train_'))
    assert list(log.epochs) == [0, 1]
    assert [warning.split(":")[0] for warning in log.warnings] == [f"{path}, line 2", f"{path}, line 3"]


@pytest.mark.parametrize(
    "zeros", ["\0" * 50, '{"train_loss": 1.0, "te' + "\0" * 50], ids=["alone", "behind half a line"]
)
def test_zeros_that_a_power_failure_left_cost_their_line_alone(path, zeros):
    log = read_log(write(path, epoch(0), zeros + json.dumps(epoch(1)), epoch(2)))
    assert list(log.epochs) == [0, 1, 2]
    assert [warning.split(":")[0] for warning in log.warnings] == [f"{path}, line 2"]
    assert list(read_log(write(path, zeros[-50:], epoch(3))).epochs) == [3]


def test_missing_and_outdated_epochs_are_named(path):
    log = read_log(write(path, epoch(0), epoch(4), epoch(5), epoch(6), epoch(2)))
    assert f"{path}: no line for epoch 1" in log.warnings
    assert any("now at epoch 2; 3 later ones up to 6 were discarded" in warning for warning in log.warnings)


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


def test_a_test_of_before_a_resume_does_not_count(path):
    log = read_log(
        write(path, epoch(0), epoch(1), {"test_acc1": 1.0}, epoch(0), "# epoch=1, task=x", {"test_acc1": 2.0})
    )
    assert log.test is None
    assert any("a test of epoch 1, not of 0" in warning for warning in log.warnings)


@pytest.mark.parametrize(
    ("comment", "line", "words"),
    [
        ("# epoch=0, task=x", {"val_acc1": 31.25, "val_many": 2.0}, "epoch 0 on the validation split alone (val_acc1"),
        ("", {"val_acc1": 31.25}, "an evaluation on the validation split alone"),
        ("# epoch=0, task=x", {"train_acc1": 31.25}, "of epoch 0 on the training split alone (train_acc1 31.25)"),
        ("# epoch=7, task=x", {"test_acc1": 31.25}, "a test of epoch 7, not of 0"),
        ("", {"test_acc1": 31.25}, "a test without a checkpoint, after a test of this run"),
        ("", {"n_parameters": 3}, "an evaluation on no split alone (n_parameters)"),
        ('{"train_loss": 1.0, "te# epoch=7, task=x', {"test_acc1": 31.25}, "a test of epoch 7, not of 0"),
    ],
)  # fmt: skip
def test_each_line_of_an_evaluation_is_read_or_named(path, comment, line, words):
    log = read_log(write(path, epoch(0), {"test_acc1": 1.0}, comment, line))
    assert log.test == {"test_acc1": 1.0}
    assert any("line 4: left out" in warning and words in warning for warning in log.warnings)


def test_a_log_of_evaluations_on_validation_alone_says_so(path):
    with pytest.raises(ReportError, match=r"no line holds one .*validation split alone"):
        read_log(write(path, "# epoch=3, task=x", {"val_acc1": 3.0}))


def test_an_absurd_epoch_costs_nothing(path):
    assert f"{path}: no line for epoch 1-{10**15 - 1}" in read_log(write(path, epoch(0), epoch(10**15))).warnings


def test_only_numbers_are_kept(path):
    line = {**epoch(0), "classes": [1.0] * 5, "name": "x", "flag": True, "huge": 10**400, "none": None}
    assert read_log(write(path, line)).epochs[0] == {"train_loss": 1.0, "test_acc1": 50.0, "epoch": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "log.txt: expected the JSON lines of a VL-LTR log, but the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"PK\x03\x04\x00\x00", "line 1: .* binary file"),
        (b'{"epoch": 0, "test_acc1": 1}\n\xff\xfe\n', "line 2: expected text in UTF-8"),
        (b'{"epoch": 0, "test_acc1": 1}\nNaN%\n', "line 2: expected a JSON object, but got 'NaN%'"),
        (b'\n{"epoch": 0, "test_acc1": x}\n', "line 2: not JSON: Expecting value at character 27"),
        (b'{"epoch": -1, "test_acc1": 1}\n', "line 1: expected `epoch` to be a whole number"),
        (b'{"epoch": "0", "test_acc1": 1}\n', "line 1: expected `epoch` to be a whole number"),
        (b"# epoch=3\n", "no line holds one"),
        (b'{"epoch": 0, "test_text_acc1": 1}\n', "results of stage two"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_place(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ReportError, match=message) as caught:
        read_log(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
