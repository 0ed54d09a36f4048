"""Every number of a trade-off curve against loops in plain Python, for one output and for VL-LTR's two rules."""

import math

import pytest
import torch
from two_outputs import (
    BOUNDS,
    COUNTS,
    DRAWS,
    OUTPUTS,
    TAUS,
    Outputs,
    collect,
    naive_numbers,
    naive_probabilities,
)

from vlltr_plugin.core.shot_groups import UPSTREAM, convention_of
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.tradeoff import TradeOff
from vlltr_plugin.report.tradeoff.curve import curve_of

pytest.importorskip("torchmetrics")


def curve(outputs: Outputs, prior=DRAWS, groups=UPSTREAM, batch: int = 50) -> TradeOff:
    return curve_of(collect(outputs, TAUS, prior, batch), COUNTS, "draws", groups)


@pytest.mark.parametrize("rule", ["mixture", "sum", "single"])
@pytest.mark.parametrize("groups", BOUNDS)
def test_every_column_at_every_tau_is_the_naive_loops(rule, groups):
    *branches, labels = OUTPUTS
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("two_branch", [True, False])
def test_at_tau_0_it_is_the_evaluation_to_the_last_bit_else_half_precision_is_adjusted_in_float32(dtype, two_branch):
    *branches, labels = OUTPUTS
    given = *(logits.to(dtype) for logits in branches[: 1 + two_branch]), labels
    collector = collect(given)
    evaluation = evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)
    narrow, wide = curve(given), curve((*(logits.double() for logits in given[:-1]), labels))
    for rule, points in narrow.points.items():
        today = evaluation["rules"][rule]
        for one, other in zip(points, wide.points[rule], strict=True):
            if one.tau:
                assert (one.few, one.top1) == (other.few, other.top1)
                continue
            for name in ("top1", "macro_top1", "harmonic_top1", "ece"):
                assert getattr(one, name) == today[name]
            for group in ("many", "medium", "few"):
                assert getattr(one, group) == today["groups"]["upstream"][group]["micro"]


def test_a_group_without_images_has_no_number():
    visual, _, labels = OUTPUTS
    found = curve((visual[labels < 4], labels[labels < 4]))
    assert {point.few for point in found.points["single"]} == {None}
    assert all(point.many is not None for point in found.points["single"])
    assert found.csv().splitlines()[1].endswith(",")


def test_a_logit_that_is_not_a_number_spoils_its_own_image_only():
    visual, image_text, labels = (tensor.clone() for tensor in OUTPUTS)
    clean = curve((visual, image_text, labels))
    visual[0, 3] = math.nan
    found = curve((visual, image_text, labels))
    for rule in ("mixture", "sum"):
        assert (found.predictions[rule][:, 1:] == clean.predictions[rule][:, 1:]).all()
        assert all(math.isfinite(point.ece) for point in found.points[rule])
