"""`trade_off`: the curve of anybody's logits, in Python."""

import math

import numpy as np
import pytest
import torch
from two_outputs import BOUNDS, naive_numbers, naive_probabilities

from vlltr_plugin.core.shot_groups import OTHERS
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.tradeoff import DEFAULT_TAUS, TradeOffError, trade_off

pytest.importorskip("torchmetrics")

COUNTS = [200, 100, 60, 20, 19, 3]
LABELS = np.repeat(np.arange(6), 20)


def logits(dtype=np.float64, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(120, 6))
    noise[np.arange(120), LABELS] += 1.5
    return (noise + np.log(COUNTS)).astype(dtype)


@pytest.mark.parametrize(
    ("draws", "options", "taus", "convention"),
    [
        (None, {}, DEFAULT_TAUS, "upstream"),
        ([5.0, 3.0, 9.0, 1.0, 2.0, 4.0], {"taus": [1, 0.5], "groups": OTHERS}, [0.5, 1], "others"),
    ],
)
def test_the_rows_are_the_naive_loops_over_images_and_classes(draws, options, taus, convention):
    found = trade_off(logits(), LABELS, COUNTS, draws, **options)
    assert found.taus == tuple(taus)
    bounds = {name: BOUNDS[convention][name] for name in ("many", "medium", "few")}
    for row, tau in zip(found.rows, taus, strict=True):
        rows = naive_probabilities([torch.from_numpy(logits())], "single", tau, draws or COUNTS)
        expected = {"tau": tau} | naive_numbers(rows, LABELS.tolist(), bounds, COUNTS)
        assert row == pytest.approx({name: expected[name] for name in row})
    assert found.prior == ("draws" if draws else "counts")
    assert DEFAULT_TAUS == (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2)


@pytest.mark.parametrize(
    "make",
    [
        torch.from_numpy,
        np.ndarray.tolist,
        lambda array: torch.from_numpy(array).requires_grad_(array.dtype.kind == "f"),
        lambda array: array.astype(array.dtype.newbyteorder(">")),
        lambda array: array[::-1].copy()[::-1],
        lambda array: array.astype(np.float32) if array.ndim == 1 else array,
    ],
)
def test_arrays_tensors_and_lists_are_the_same(make):
    expected = trade_off(logits(), LABELS, COUNTS).rows
    assert trade_off(make(logits()), make(LABELS), make(np.array(COUNTS))).rows == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_first_of_equal_logits_is_predicted_at_every_tau(dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    scores = torch.from_numpy(rng.normal(size=(2000, 100)) * 3).to(dtype)
    top_two = scores.float().topk(2).values
    assert (top_two[:, 0] == top_two[:, 1]).any()
    found = trade_off(scores, labels, np.full(100, 50))  # a constant prior takes the same off every class
    assert (found.predictions["single"] == scores.double().numpy().argmax(axis=1)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_any_dtype_gives_the_numbers_of_its_values(dtype):
    scores = logits(dtype) if dtype != np.int64 else np.round(100 * logits()).astype(np.int64)
    scores = scores + np.arange(6, dtype=dtype) * np.array(2 if dtype == np.int64 else 0, dtype=dtype)
    assert trade_off(scores, LABELS, COUNTS).rows[1:] == trade_off(scores.astype(np.float64), LABELS, COUNTS).rows[1:]


@pytest.mark.parametrize("make", [np.ndarray.tolist, np.asarray])
def test_torch_s_default_dtype_and_device_do_not_matter(make):
    scores, draws = logits(), np.array([1001.0, 999.0, 60.0, 20.0, 19.0, 3.0])
    whole = trade_off(scores, LABELS, COUNTS, draws)
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    try:
        found = trade_off(make(scores), make(LABELS), COUNTS, make(draws))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found.rows == whole.rows


def test_inputs_are_not_modified_even_if_read_only():
    scores = logits()
    before = scores.copy()
    scores.flags.writeable = False
    trade_off(scores, LABELS, COUNTS)
    assert np.array_equal(scores, before)


def test_chunked_and_whole_processing_agree(monkeypatch):
    whole = trade_off(logits(), LABELS, COUNTS).rows
    monkeypatch.setattr("vlltr_plugin.report.tradeoff.sweep.CHUNK", 42)  # 7 images
    assert trade_off(logits(), LABELS, COUNTS).rows == whole


def test_of_equal_top_1_the_best_is_the_least_adjustment():
    certain = 100.0 * np.eye(6)[LABELS]
    assert trade_off(certain, LABELS, COUNTS, taus=[-1, 0, 1]).best().tau == 0


def broken(at, value):
    scores = logits()
    scores[at] = value
    return scores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": broken((7, 2), math.nan)}, "finite logits but those of image 7"),
        ({"logits": broken((119, 5), -math.inf)}, "finite logits but those of image 119"),
        ({"logits": logits()[0]}, r"logits of shape \[N, C\].*\[6\]"),
        ({"logits": logits()[None]}, r"logits of shape \[N, C\].*\[1, 120, 6\]"),
        ({"logits": np.zeros((0, 6))}, r"logits of shape \[N, C\]"),
        ({"logits": np.zeros((120, 0))}, r"logits of shape \[N, C\]"),
        ({"logits": logits().astype(complex)}, "logits to be real numbers"),
        ({"logits": np.array([["a"] * 6] * 120)}, "logits to be an array"),
        ({"counts": np.array(["200"] * 6)}, "counts to be an array of numbers but got ndarray of <U3"),
        ({"labels": LABELS[:-1]}, r"labels of shape \[120\].*\[119\]"),
        ({"labels": np.eye(6)[LABELS]}, r"labels of shape \[120\]"),
        ({"labels": LABELS + 1}, "labels in 0..5 but found 6"),
        ({"labels": LABELS - 1}, "labels in 0..5 but found -1"),
        ({"labels": LABELS + 0.5}, "labels to be whole numbers"),
        ({"labels": LABELS > 0}, "labels to be real numbers"),
        ({"counts": COUNTS[:-1]}, r"counts of shape \[6\].*\[5\]"),
        ({"counts": [-1, *COUNTS[1:]]}, "counts that are not negative"),
        ({"counts": [0] * 6}, "not all 0"),
        ({"counts": [0.5] * 6}, "counts to be whole numbers"),
        ({"counts": [math.inf] * 6}, "counts to be whole numbers"),
        ({"draws": [1.0] * 5}, r"draws of shape \[6\].*\[5\]"),
        ({"draws": [1.0, 2, 3, 4, 5, math.nan]}, "prior of one finite number a class"),
        ({"draws": [1.0, 2, 3, 4, 5, -1]}, "not negative"),
        ({"draws": [0.0] * 6}, "not all 0"),
        ({"taus": []}, "tau to be one or more finite numbers"),
        ({"taus": [0, math.nan]}, "tau to be one or more finite numbers"),
    ],
)
def test_unfitting_arguments_are_named(changes, message):
    arguments = {"logits": logits(), "labels": LABELS, "counts": COUNTS} | changes
    with pytest.raises(TradeOffError, match=message) as caught:
        trade_off(**arguments)
    assert isinstance(caught.value, ValueError)  # for who calls from Python
    assert isinstance(caught.value, ReportError)  # one line on the command line
