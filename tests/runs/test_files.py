"""What is whole in a line survives wherever a killed run cut it."""

import json

import pytest

from vlltr_plugin.runs.files import whole_objects

FIRST = {"train_loss": 1.5e-07, "train_lr": -3, "test_acc1": float("nan"), "test_10-shot": float("-inf"), "epoch": 12}
NEXT = {"train_loss": 0.25, "test_loss": 2.0, "epoch": 13}
CUTS = range(1, len(json.dumps(FIRST)))


@pytest.mark.parametrize("zeros", ["", "\0" * 50], ids=["", "zeros of a power failure"])
@pytest.mark.parametrize(
    ("after", "found"),
    [
        ("", []),
        ("# epoch=3, task=dv", []),
        (json.dumps(NEXT), [NEXT]),
        (json.dumps(NEXT) + "  ", [NEXT]),
        ('{"test_acc1": 1}', [{"test_acc1": 1}]),
    ],
)
def test_an_object_cut_at_any_character_is_left_out_and_what_follows_is_found(after, found, zeros):
    for cut in CUTS:
        assert whole_objects(json.dumps(FIRST)[:cut] + zeros + after) == (found, True), cut
    if zeros:
        assert whole_objects(zeros + after) == (found, True)


def test_zeros_after_a_whole_object_are_a_cut():
    assert whole_objects(json.dumps(NEXT) + "\0" * 50) == ([NEXT], True)


def test_two_whole_objects_in_a_line_are_both_taken():
    assert whole_objects(json.dumps(NEXT) + json.dumps({"epoch": 14})) == ([NEXT, {"epoch": 14}], False)


def test_two_cuts_in_one_line():
    assert whole_objects('{"train_loss": 0.1, "tes{"train_loss": 0.' + json.dumps(NEXT)) == ([NEXT], True)


@pytest.mark.parametrize(
    "text",
    [
        "epoch 3: 71.2",
        "[1, 2]",
        '"text"',
        "3",
        '{"a": oops, "b": 1}',
        "{'a': 1}",
        '{"a": 1} and more',
        '{"a" 1}',
        "{1}",
    ],
)
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match="JSON"):
        whole_objects(text)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(ValueError, match="JSON"):
        whole_objects('{"a": ' + "[" * 100_000)
