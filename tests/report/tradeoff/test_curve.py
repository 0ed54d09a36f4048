"""Every number of a trade-off curve against loops in plain Python, for one output and for VL-LTR's two rules."""

import math

import numpy as np
import pytest
import torch
from two_outputs import (
    BOUNDS,
    CLASSES,
    COUNTS,
    DRAWS,
    TAUS,
    Outputs,
    collect,
    naive_numbers,
    naive_probabilities,
    two_outputs,
)

from vlltr_plugin.core.shot_groups import UPSTREAM, convention_of
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.tradeoff import TradeOff
from vlltr_plugin.report.tradeoff.curve import curve_of, log_prior
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector

pytest.importorskip("torchmetrics")

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    return two_outputs()


def curve(outputs: Outputs, prior=DRAWS, groups=UPSTREAM, batch: int = 50) -> TradeOff:
    return curve_of(collect(outputs, TAUS, prior, batch), COUNTS, "draws", groups)


@pytest.mark.parametrize("rule", ["mixture", "sum", "single"])
@pytest.mark.parametrize("groups", BOUNDS)
def test_every_column_at_every_tau_is_the_naive_loops(outputs, rule, groups):
    *branches, labels = outputs
    if rule == "single":
        branches, kept = branches[1:], labels != 2  # without the class that is always wrong: a harmonic mean above 0
        branches, labels = [branch[kept] for branch in branches], labels[kept]
    found = curve((*branches, labels), groups=convention_of(groups))
    assert set(found.points) == ({"single"} if rule == "single" else {"mixture", "sum"})
    assert [point.tau for point in found.points[rule]] == list(TAUS)
    bounds = {name: BOUNDS[groups][name] for name in ("many", "medium", "few")}
    for point in found.points[rule]:
        expected = naive_numbers(naive_probabilities(branches, rule, point.tau), labels.tolist(), bounds)
        for name, value in expected.items():
            assert getattr(point, name) == pytest.approx(value, abs=1e-4 if name == "ece" else 1e-9), (point.tau, name)
    assert len({point.few for point in found.points[rule]}) > 2  # else tau would not matter here


def test_the_rows_are_what_the_host_logs_overall_of_the_mixture_and_groups_of_the_sum(outputs):
    found = curve(outputs)
    mixture, sums = found.points["mixture"], found.points["sum"]
    assert [point.top1 for point in mixture] != [point.top1 for point in sums]
    assert found.rows == [
        {"tau": one.tau, "top1": one.top1, "many": other.many, "medium": other.medium, "few": other.few}
        for one, other in zip(mixture, sums, strict=True)
    ]
    header, *lines = found.csv().splitlines()
    assert header == "tau,top1,many,medium,few"
    assert [[float(cell) for cell in line.split(",")] for line in lines] == [list(row.values()) for row in found.rows]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("two_branch", [True, False])
def test_at_tau_0_it_is_the_evaluation_to_the_last_bit(outputs, dtype, two_branch):
    *branches, labels = outputs
    given = *(logits.to(dtype) for logits in branches[: 1 + two_branch]), labels
    collector = collect(given)
    evaluation = evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)
    found = curve(given)
    for rule, points in found.points.items():
        (point,) = [point for point in points if point.tau == 0]
        today = evaluation["rules"][rule]
        for name in ("top1", "macro_top1", "harmonic_top1", "ece"):
            assert getattr(point, name) == today[name]
        for group in ("many", "medium", "few"):
            assert getattr(point, group) == today["groups"]["upstream"][group]["micro"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_is_adjusted_in_float32(outputs, dtype):
    *branches, labels = outputs
    narrow = curve((*(logits.to(dtype) for logits in branches), labels))
    wide = curve((*(logits.to(dtype).double() for logits in branches), labels))
    for rule, points in narrow.points.items():
        for one, other in zip(points, wide.points[rule], strict=True):
            if one.tau:  # at 0 the host's own precision decides
                assert (one.few, one.top1) == (other.few, other.top1)


def test_only_the_shape_of_the_prior_matters(outputs):
    assert curve(outputs, prior=DRAWS).rows == curve(outputs, prior=1e-6 * DRAWS).rows
    constant = curve(outputs, prior=np.full(CLASSES, 37.0))
    for rule, points in constant.points.items():
        assert {tuple(vars(point).values())[1:6] for point in points} == {tuple(vars(points[0]).values())[1:6]}
        assert (constant.predictions[rule] == constant.predictions[rule][0]).all()


def test_a_class_that_is_never_drawn_gains_as_much_as_the_rarest_that_is():
    found = log_prior([100, 0, 10, 1])
    assert found.tolist() == pytest.approx([0.0, math.log(0.01), math.log(0.1), math.log(0.01)])
    collector = PredictionCollector(4, [0.25], found)
    collector.add(torch.tensor([[2.0, 0.0, 0.0, 0.0]]), torch.tensor([0]))
    assert collector.predictions()["single"].at(0.25)[0].tolist() == [0]  # minus infinity would have made it class 1


def test_batches_make_no_difference(outputs):
    assert curve(outputs, batch=1).rows == curve(outputs, batch=1000).rows
    small, large = (collect(outputs, batch=batch).predictions() for batch in (1, 1000))
    for rule, predictions in small.items():
        for name in ("top1", "in_top5"):
            assert np.array_equal(getattr(predictions, name), getattr(large[rule], name))
        assert predictions.confidence == pytest.approx(large[rule].confidence)


def test_a_group_without_images_has_no_number(outputs):
    visual, _, labels = outputs
    found = curve((visual[labels < 4], labels[labels < 4]))
    assert {point.few for point in found.points["single"]} == {None}
    assert all(point.many is not None for point in found.points["single"])
    assert found.csv().splitlines()[1].endswith(",")


def test_a_logit_that_is_not_a_number_spoils_its_own_image_only(outputs):
    visual, image_text, labels = (tensor.clone() for tensor in outputs)
    clean = curve((visual, image_text, labels))
    visual[0, 3] = math.nan
    found = curve((visual, image_text, labels))
    for rule in ("mixture", "sum"):
        assert (found.predictions[rule][:, 1:] == clean.predictions[rule][:, 1:]).all()
        assert all(math.isfinite(point.ece) for point in found.points[rule])
