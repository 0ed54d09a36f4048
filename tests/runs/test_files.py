"""What is whole in a line survives wherever a killed run cut it."""

import json

import pytest

from vlltr_plugin.runs.files import whole_objects

FIRST = {"train_loss": 1.5e-07, "train_lr": -3, "test_acc1": float("nan"), "test_10-shot": float("-inf"), "epoch": 12}
NEXT = {"train_loss": 0.25, "test_loss": 2.0, "epoch": 13}
CUTS = range(1, len(json.dumps(FIRST)))


@pytest.mark.parametrize("next_text", [json.dumps(NEXT), json.dumps(NEXT) + "  ", json.dumps({"test_acc1": 1})])
def test_the_next_line_is_recovered_after_a_cut_at_any_character(next_text):
    for cut in CUTS:
        assert whole_objects(json.dumps(FIRST)[:cut] + next_text) == ([json.loads(next_text)], True), cut


def test_a_line_cut_at_any_character_is_left_out():
    for cut in CUTS:
        assert whole_objects(json.dumps(FIRST)[:cut]) == ([], True), cut


def test_a_comment_glued_to_a_cut_line_is_no_error():
    for cut in CUTS:
        assert whole_objects(json.dumps(FIRST)[:cut] + "# epoch=3, task=dv") == ([], True), cut


def test_zeros_that_a_power_failure_left_are_a_cut():
    zeros = "\0" * 50
    for cut in (0, *CUTS):
        for glued in ("", json.dumps(NEXT), "# epoch=3"):
            found = [NEXT] if glued.startswith("{") else []
            assert whole_objects(json.dumps(FIRST)[:cut] + zeros + glued) == (found, True), cut
    assert whole_objects(json.dumps(NEXT) + zeros) == ([NEXT], True)


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
def test_what_is_not_just_cut_is_refused(text):
    with pytest.raises(ValueError, match="JSON"):
        whole_objects(text)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(ValueError, match="JSON"):
        whole_objects('{"a": ' + "[" * 100_000)
