"""Where a run lies on its baseline's curve, against loops in plain Python."""

import itertools
import random

import numpy as np
import pytest

from vlltr_plugin.core.shot_groups import OTHERS, UPSTREAM
from vlltr_plugin.report.tradeoff import TradeOffError, place
from vlltr_plugin.report.tradeoff.bootstrap import image_weights
from vlltr_plugin.report.tradeoff.curve import TradeOff
from vlltr_plugin.report.tradeoff.interpolate import on_curve

COUNTS = np.array([300, 200, 50, 40, 5, 3])  # two classes of each group
SIZES = [40, 20, 30, 30, 10, 50]
LABELS = np.repeat(np.arange(6), SIZES)
TAUS = (0.0, 0.5, 1.0)


def made(rates: dict[str, list[float]], seed: int = 0, taus=TAUS, **changes) -> TradeOff:
    """A model that is right on exactly that share of a group's images at each tau."""
    group = UPSTREAM.group(COUNTS)[LABELS]
    draw = np.empty(len(LABELS))
    for name in rates:
        draw[group == name] = np.random.default_rng(seed).permutation(np.linspace(0, 0.999, (group == name).sum()))
    right = np.stack([[draw[i] < rates[g][t] for i, g in enumerate(group)] for t in range(len(taus))])
    predictions = {"single": np.where(right, LABELS, (LABELS + 1) % 6)}
    given = {"taus": taus, "prior": "counts", "groups": UPSTREAM, "labels": LABELS, "counts": COUNTS}
    return TradeOff(**(given | {"predictions": predictions, "points": {"single": ()}} | changes))


BASELINE = made({"many": [1.0, 0.8, 0.1], "medium": [0.5, 0.55, 0.5], "few": [0.1, 0.3, 0.4]})
RUN = made({"many": [0.7, 0.5, 0.4], "medium": [0.5, 0.6, 0.5], "few": [0.5, 0.6, 0.7]}, seed=5)


def accuracies(trade_off: TradeOff, at: int, images: list[int]) -> tuple[float, float, float]:
    """Many-shot, few-shot and overall, in percent."""
    found = []
    for classes in ((0, 1), (4, 5), range(6)):
        inside = [i for i in images if LABELS[i] in classes]
        right = [trade_off.predictions["single"][at, i] == LABELS[i] for i in inside]
        found.append(100 * sum(right) / len(inside))
    return tuple(found)


def naive_gaps(run: TradeOff, at: int, baseline: TradeOff, images: list[int]) -> tuple[float, float] | None:
    many, few, overall = accuracies(run, at, images)
    curve = [accuracies(baseline, t, images) for t in range(len(baseline.taus))]
    best = None
    for (m0, f0, o0), (m1, f1, o1) in itertools.pairwise(curve):
        if not min(m0, m1) <= many <= max(m0, m1):
            continue
        share = (many - m0) / (m1 - m0) if m1 != m0 else float(f1 > f0)
        there = f0 + share * (f1 - f0), o0 + share * (o1 - o0)
        best = there if best is None or there[0] > best[0] else best
    return None if best is None else (few - best[0], overall - best[1])


def test_differences_are_those_at_equal_many_shot_accuracy() -> None:
    images = list(range(len(LABELS)))
    for at, tau in enumerate(TAUS[:2]):
        found = place(RUN, BASELINE, tau)
        few, overall = naive_gaps(RUN, at, BASELINE, images)
        assert found.few.value == pytest.approx(few)
        assert found.overall.value == pytest.approx(overall)
        assert found.many == pytest.approx(accuracies(RUN, at, images)[0])
    assert found.verdict == "above"


def test_the_interval_is_that_of_images_drawn_again_within_their_classes() -> None:
    found = place(RUN, BASELINE, resamples=4000)
    generator = random.Random(3)
    of_class = [[i for i in range(len(LABELS)) if LABELS[i] == c] for c in range(6)]
    gaps = []
    for _ in range(1500):
        gaps.append(naive_gaps(RUN, 0, BASELINE, [i for own in of_class for i in generator.choices(own, k=len(own))]))
    assert None not in gaps
    for number, gap in enumerate((found.few, found.overall)):
        low, high = np.percentile([pair[number] for pair in gaps], [2.5, 97.5])
        tolerance = 0.1 * (high - low)
        assert gap.low == pytest.approx(low, abs=tolerance)
        assert gap.high == pytest.approx(high, abs=tolerance)


def test_every_class_keeps_its_number_of_images_in_every_resample() -> None:
    labels = np.random.default_rng(0).permutation(LABELS)
    weights = np.concatenate(list(image_weights(labels, 50)))
    assert weights.shape == (50, len(labels))
    for c, size in enumerate(SIZES):
        assert (weights[:, labels == c].sum(axis=1) == size).all()
    assert weights.max() > 1
    assert np.array_equal(weights, np.concatenate(list(image_weights(labels, 50))))


@pytest.mark.parametrize(
    ("few", "verdict"), [([0.5, 0.6, 0.7], "above"), ([0.33, 0.35, 0.4], "on"), ([0.0, 0.0, 0.0], "below")]
)
def test_the_sentence_says_above_on_or_below(few: list[float], verdict: str) -> None:
    run = made({"many": [0.7, 0.5, 0.4], "medium": [0.5] * 3, "few": few}, seed=9)
    found = place(run, BASELINE, names=("dv", "base"))
    assert found.verdict == verdict
    assert str(found).startswith(f"dv lies {verdict} the trade-off curve of base: at equal many-shot accuracy (")


def test_where_few_and_overall_disagree_the_sentence_says_so() -> None:
    run = made({"many": [0.7] * 3, "medium": [0.0] * 3, "few": [0.5] * 3})
    found = place(run, BASELINE)
    assert found.few.low > 0 > found.overall.high
    assert "lies above the trade-off curve of the baseline in few-shot and below it in overall: at" in str(found)


@pytest.mark.parametrize(("many", "hint"), [(1.0, "below tau 0"), (0.0, "to a larger tau")])
def test_outside_the_curve_nothing_is_extrapolated(many: float, hint: str) -> None:
    baseline = made({"many": [0.9, 0.7, 0.5], "medium": [0.5] * 3, "few": [0.1, 0.3, 0.4]})
    found = place(made({"many": [many] * 3, "medium": [0.5] * 3, "few": [0.9] * 3}), baseline)
    assert (found.few, found.overall, found.verdict) == (None, None, "outside")
    assert hint in str(found)
    assert "nothing is extrapolated" in str(found)


@pytest.mark.parametrize(
    ("rates", "hint"),
    [
        ([0.9, 0.7, 0.5], "Sweep the baseline below tau -1."),
        ([0.7, 0.9, 0.5], "The curve's is highest at tau 0, so"),
        ([0.5, 0.7, 0.9], "Sweep the baseline to a larger tau than 1."),
    ],
)
def test_the_taus_to_sweep_are_those_past_the_end_that_comes_nearest(rates: list[float], hint: str) -> None:
    baseline = made({"many": rates, "medium": [0.5] * 3, "few": [0.1, 0.3, 0.4]}, taus=(-1.0, 0.0, 1.0))
    found = place(made({"many": [1.0] * 3, "medium": [0.5] * 3, "few": [0.9] * 3}), baseline)
    assert found.verdict == "outside"
    assert hint in str(found)


@pytest.mark.parametrize(("many", "hint"), [(1.0, "below tau 0."), (0.0, "to a larger tau than 0.")])
def test_a_curve_of_one_point_is_to_go_on_the_way_of_the_run(many: float, hint: str) -> None:
    baseline = made({"many": [0.5], "medium": [0.5], "few": [0.4]}, taus=(0.0,))
    assert str(place(made({"many": [many] * 3, "medium": [0.5] * 3, "few": [0.9] * 3}), baseline)).endswith(hint)


def test_the_baseline_itself_lies_on_its_curve_without_any_doubt() -> None:
    for tau in TAUS:
        found = place(BASELINE, BASELINE, tau)
        assert (found.verdict, found.few.value, found.few.low, found.few.high) == ("on", 0, 0, 0)
        assert found.overall.value == found.overall.low == found.overall.high == 0


def test_near_the_end_of_the_curve_there_is_a_difference_but_no_interval() -> None:
    baseline = made({"many": [0.9, 0.7, 0.5], "medium": [0.5] * 3, "few": [0.1, 0.3, 0.4]})
    run = made({"many": [0.885] * 3, "medium": [0.5] * 3, "few": [0.5] * 3}, seed=4)
    assert 0 < accuracies(baseline, 0, list(range(180)))[0] - accuracies(run, 0, list(range(180)))[0] < 4
    found = place(run, baseline)
    assert found.verdict == "undecided"
    assert found.few.value > 0
    assert "too near an end" in str(found)


def test_seeds_are_placed_by_their_mean() -> None:
    others = [made({"many": [0.9, 0.6, 0.4], "medium": [0.5] * 3, "few": [0.2, 0.3, 0.4]}, seed=s) for s in (1, 2, 3)]
    means = np.mean([accuracies(one, 0, list(range(180))) for one in others], axis=0)
    found = place(others, BASELINE)
    assert found.many == pytest.approx(means[0])
    images = list(range(180))
    curve = [accuracies(BASELINE, t, images) for t in range(3)]
    share = (means[0] - curve[0][0]) / (curve[1][0] - curve[0][0])
    assert 0 < share < 1
    assert found.few.value == pytest.approx(means[1] - curve[0][1] - share * (curve[1][1] - curve[0][1]))
    assert place([BASELINE] * 3, BASELINE).few.value == 0


def test_where_the_curve_passes_twice_the_better_passage_counts() -> None:
    many, few, overall = np.array([[60.0, 70.0, 60.0]]), np.array([[10.0, 20.0, 40.0]]), np.array([[1.0, 2.0, 3.0]])
    assert [x.tolist() for x in on_curve(many, few, overall, np.array([65.0]))] == [[30.0], [2.5]]
    level = np.array([[60.0, 60.0, 50.0]])
    assert [x.tolist() for x in on_curve(level, few, overall, np.array([60.0]))] == [[20.0], [2.0]]
    assert np.isnan(on_curve(many, few, overall, np.array([70.1]))[0]).all()
    assert on_curve(many[:, :1], few[:, :1], overall[:, :1], np.array([60.0]))[0].tolist() == [10.0]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (made({g: [0.5] * 3 for g in ("many", "medium", "few")}, labels=LABELS[::-1].copy()), "same images"),
        (made({g: [0.5] * 3 for g in ("many", "medium", "few")}, counts=COUNTS + 1), "class counts differ"),
        (made({g: [0.5] * 3 for g in ("many", "medium", "few")}, groups=OTHERS), "same groups"),
        (made({g: [0.5] * 3 for g in ("many", "medium", "few")}, counts=COUNTS * 0 + 50), "many-shot classes"),
    ],
)
def test_curves_that_do_not_belong_together_are_refused(run: TradeOff, message: str) -> None:
    with pytest.raises(TradeOffError, match=message):
        place(run, BASELINE)


def test_a_tau_that_was_not_swept_is_refused() -> None:
    with pytest.raises(TradeOffError, match=r"0, 0\.5, 1, but got 0\.7"):
        place(RUN, BASELINE, 0.7)
    with pytest.raises(TradeOffError, match="same taus"):
        place([RUN, made({g: [0.5] * 2 for g in ("many", "medium", "few")}, taus=(0.0, 1.0))], BASELINE)
