"""What is whole in a line survives wherever a killed run cut it."""

import json

import pytest

from vlltr_plugin.runs.files import whole_objects

FIRST = {"train_loss": 1.5e-07, "train_lr": -3, "test_acc1": float("nan"), "test_10-shot": float("-inf"), "epoch": 12}
NEXT = {"train_loss": 0.25, "test_loss": 2.0, "epoch": 13}
NEXT_LINE = json.dumps(NEXT)
ZEROS = "\0" * 50  # of a power failure


@pytest.mark.parametrize("zeros", ["", ZEROS], ids=["", "zeros"])
@pytest.mark.parametrize(
    ("after", "found"),
    [
        ("", []),
        ("# epoch=3, task=dv", []),
        (NEXT_LINE, [NEXT]),
        (NEXT_LINE + "  ", [NEXT]),
        ('{"test_acc1": 1}', [{"test_acc1": 1}]),
    ],
)
def test_an_object_cut_at_any_character_is_left_out_and_what_follows_is_found(after, found, zeros):
    for cut in range(0 if zeros else 1, len(json.dumps(FIRST))):
        assert whole_objects(json.dumps(FIRST)[:cut] + zeros + after) == (found, True), cut


@pytest.mark.parametrize(
    ("line", "found", "cut"),
    [
        (NEXT_LINE + ZEROS, [NEXT], True),
        (NEXT_LINE + '{"epoch": 14}', [NEXT, {"epoch": 14}], False),
        ('{"train_loss": 0.1, "tes{"train_loss": 0.' + NEXT_LINE, [NEXT], True),
    ],
    ids=["zeros after an object", "two objects", "two cuts"],
)
def test_every_whole_object_of_a_line_is_found(line, found, cut):
    assert whole_objects(line) == (found, cut)


NOT_JSON = ["epoch 3: 71.2", "[1, 2]", '"text"', "3", '{"a": oops, "b": 1}', "{'a': 1}", '{"a": 1} and more', '{"a" 1}']


@pytest.mark.parametrize("text", [*NOT_JSON, "{1}", '{"a": ' + "[" * 100_000], ids=[*NOT_JSON, "{1}", "nested deeply"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match="JSON"):
        whole_objects(text)
