"""Where a run lies on its baseline's curve: exact at every tau, with an interval that holds what it should."""

import math

import numpy as np
import pytest
from scipy import stats

from vlltr_plugin.core.shot_groups import OTHERS, UPSTREAM
from vlltr_plugin.report.tradeoff import Gap, TradeOff, TradeOffError, place, trade_off
from vlltr_plugin.report.tradeoff.spans import Curve, right_between

pytest.importorskip("torchmetrics")

COUNTS = np.array([400, 250, 150, 60, 30, 12, 8, 3])
LABELS = np.repeat(np.arange(8), 50)
LOG_PRIOR = np.log(COUNTS / COUNTS.max())


def logits(seed: int, labels: np.ndarray = LABELS, hint: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(len(labels), 8)) + np.log(COUNTS)
    noise[np.arange(len(labels)), labels] += hint
    return noise


def naive(scores: np.ndarray, labels: np.ndarray, tau: float) -> np.ndarray:
    return (scores - tau * LOG_PRIOR).argmax(axis=1) == labels


def made(right: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> TradeOff:
    """A curve from the taus between which each image is right."""
    none = {"single": np.zeros((0, len(labels)), np.int16)}
    return TradeOff((), "counts", UPSTREAM, labels, counts, none, {"single": ()}, {"single": right})


def always(hits: np.ndarray) -> np.ndarray:
    return np.where(hits, [[-np.inf], [np.inf]], [[np.inf], [-np.inf]])


@pytest.mark.parametrize("taus", [[0, 1, 2], [0.0]])
@pytest.mark.parametrize("tau", [-3.0, -1.0, -0.3, 0.1, 0.37, 0.62, 1.13, 1.9, 4.2])
def test_the_baseline_at_any_tau_lies_on_its_own_curve_whatever_was_swept(taus, tau):
    scores = logits(0)
    found = place(trade_off(scores - tau * LOG_PRIOR, LABELS, COUNTS), trade_off(scores, LABELS, COUNTS, taus=taus))
    assert found.verdict == "on"
    assert vars(found.few) == vars(found.overall) == {"value": 0, "low": 0, "high": 0}
    assert found.many == pytest.approx(100 * naive(scores, LABELS, tau)[COUNTS[LABELS] >= 100].mean())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_an_image_is_right_between_the_taus_of_the_curve_ties_included(dtype):
    scores = np.round(logits(3), 1).astype(dtype)
    start, end = trade_off(scores, LABELS, COUNTS).right["single"]
    assert (((start <= 0) & (end >= 0)) == naive(scores.astype(np.float64), LABELS, 0)).all()
    for tau in np.linspace(-2.9137, 4.0713, 41):
        assert (((start <= tau) & (tau <= end)) == naive(scores.astype(np.float64), LABELS, tau)).all()


@pytest.mark.parametrize("counts", [[5, 400, 60, 60, 5, 150, 60, 400], [7] * 8, [80, 3, 60, 9, 400, 12, 150, 30]])
@pytest.mark.parametrize("chunk", [1, 24, 2**16])
def test_an_image_is_right_between_its_taus_among_classes_of_equal_and_unsorted_counts(monkeypatch, counts, chunk):
    monkeypatch.setattr("vlltr_plugin.report.tradeoff.spans.CHUNK", chunk)
    labels = np.random.default_rng(1).permutation(LABELS)
    scores = np.round(logits(5, labels))  # whole numbers: at tau 0, and of equal counts at every tau, many are equal
    scores[:8] = np.where(np.eye(8), [[-np.inf], [np.inf]] * 4, scores[:8])
    start, end = right_between(scores.astype(np.float32), labels, np.log(counts))
    for tau in [-2.9137, -0.7, 0.0, 0.31, 1.07, 3.3]:
        for image, row in enumerate(scores.tolist()):
            moved = [row[c] - tau * math.log(counts[c]) for c in range(8)]
            assert (start[image] <= tau <= end[image]) == (moved.index(max(moved)) == labels[image]), (image, tau)


def test_at_equal_many_shot_accuracy_the_interval_is_students_of_paired_images_within_classes():
    counts, labels = np.array([300, 5, 3]), np.repeat(np.arange(3), [40, 6, 9])
    generator = np.random.default_rng(2)
    base = generator.random(55) < 0.4
    run = np.where(labels == 0, base, generator.random(55) < 0.6)
    found = place(made(always(run), labels, counts), made(always(base), labels, counts))
    difference = 100 * (run.astype(float) - base) / 15
    spread = [len(own) * own.var(ddof=1) for c in (1, 2) if len(own := difference[labels == c])]
    freedom = sum(spread) ** 2 / (spread[0] ** 2 / 5 + spread[1] ** 2 / 8)
    assert found.few.value == pytest.approx(difference[labels > 0].sum())
    assert found.few.high - found.few.value == pytest.approx(
        stats.t.ppf(0.975, freedom) * np.sqrt(sum(spread)), rel=5e-3
    )


def spread(scores: np.ndarray) -> tuple[float, float]:
    """Variance and half of the 95 % interval of a sum over the images of `LABELS`."""
    parts = [len(own) * own.var(ddof=1) for own in (scores[c == LABELS] for c in range(8))]
    freedom = sum(parts) ** 2 / max(sum(part**2 / 49 for part in parts), 1e-30)
    return sum(parts), stats.t.ppf(0.975, max(freedom, 1)) * np.sqrt(sum(parts))


def adds(scores: np.ndarray, tau: float) -> list[np.ndarray]:
    """What each image adds to many-shot, few-shot and overall accuracy."""
    hits = 100.0 * naive(scores, LABELS, tau)
    of = COUNTS[LABELS]
    return [hits * mask / mask.sum() for mask in (of >= 100, of <= 20, of > 0)]


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_the_interval_joins_those_beside_every_tau_that_may_have_the_runs_many_shot_accuracy(shift):
    base, run = logits(0), logits(1) - shift * LOG_PRIOR
    found = place(trade_off(run, LABELS, COUNTS), trade_off(base, LABELS, COUNTS))
    taus = np.arange(-4, 5, 0.04)
    many = np.array([adds(base, tau)[0].sum() for tau in taus])
    top = len(taus) - 1 - int(many[::-1].argmax())
    ends: list[list[float]] = [[], []]
    for index, tau in enumerate(taus):
        apart = [mine - theirs for mine, theirs in zip(adds(run, 0), adds(base, tau), strict=True)]
        variance, room = spread(apart[0])
        left = 1 - (apart[0].sum() / room) ** 2
        if left >= 0 and index < top:  # the larger tau is better, unless by chance
            before = adds(base, taus[top])[0] - adds(base, tau)[0]
            left -= (before.sum() / max(spread(before)[1], 1e-9)) ** 2
        if left >= 0:
            for number in (1, 2):
                cov = (spread(apart[number] + apart[0])[0] - spread(apart[number] - apart[0])[0]) / 4
                rest = apart[number] - cov / variance * apart[0]
                half = spread(rest)[1] * np.sqrt(left)
                ends[number - 1] += [rest.sum() - half, rest.sum() + half]
    for gap, of in zip((found.few, found.overall), ends, strict=True):
        assert (gap.low, gap.high) == pytest.approx((min(of), max(of)), abs=0.1 * (max(of) - min(of)))


def test_one_image_a_class_gives_no_verdict():
    counts = np.repeat([300, 5], 40)
    labels = np.arange(80)
    hits = np.random.default_rng(0).random((2, 80)) < np.where(labels < 40, 1.0, [[0.9], [0.2]])
    found = place(made(always(hits[0]), labels, counts), made(always(hits[1]), labels, counts))
    assert (found.verdict, found.few.low, found.overall.low) == ("undecided", None, None)
    assert found.few.value > 50
    assert "one test image each" in str(found)


def test_on_a_level_stretch_of_many_shot_accuracy_the_better_end_is_the_baselines_too():
    counts, labels = np.array([300, 3]), np.repeat([0, 1], 10)
    right = np.full((2, 20), [[-np.inf], [np.inf]])
    right[0, 10:] = np.arange(10) / 10  # one few-shot image more each 0.1, while many-shot accuracy stays
    baseline = made(right, labels, counts)
    for hits, gap in ((10, 0), (4, 0), (0, 0)):
        run = always(np.arange(20) < 10 + hits)
        assert place(made(run, labels, counts), baseline).few.value == gap
    half = right.copy()
    half[0, 15:] = np.inf  # at most 5 of 10
    half[1, 15:] = -np.inf
    run = made(always(np.arange(20) < 18), labels, counts)
    assert place(run, made(half, labels, counts)).few.value == pytest.approx(30)


def test_with_several_seeds_the_scatter_of_the_trainings_is_in_the_interval():
    generator = np.random.default_rng(0)
    few = COUNTS[LABELS] <= 20
    chances = np.array([0.3, 0.5, 0.7])
    runs = [always(np.where(few, generator.random(len(LABELS)) < chance, LABELS % 2 == 0)) for chance in chances]
    base = made(always(np.where(few, LABELS % 3 == 0, LABELS % 2 == 0)), LABELS, COUNTS)
    many = place([made(one, LABELS, COUNTS) for one in runs], base).few
    single = place(made(runs[1], LABELS, COUNTS), base).few
    sums = [100 * ((one[0] < 0) & few).sum() / few.sum() for one in runs]
    seeds = stats.t.ppf(0.975, 2) * np.std(sums, ddof=1) / np.sqrt(3)
    assert many.high - many.low > 2 * (single.high - single.low)
    assert (many.high - many.low) / 2 == pytest.approx(seeds, rel=0.15)


@pytest.mark.parametrize(("many", "side"), [(1.0, "above"), (0.0, "below")])
def test_beyond_an_end_of_the_curve_it_says_which(many, side):
    counts, labels = np.array([300, 3]), np.repeat([0, 1], 40)
    base = always(np.arange(80) % 2 == 0)
    run = always(np.where(labels == 0, many, 1.0) > 0)
    found = place(made(run, labels, counts), made(base, labels, counts))
    assert (found.few, found.overall, found.verdict) == (None, None, "outside")
    assert f"is {side} all of the curve's (50.0 to 50.0 %)" in str(found)
    assert f"{100 * many - 50:+.1f} points of many-shot and +50.0 of few-shot" in str(found)


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (Gap(0.25, 0.004, 0.496), "+0.250 [+0.004, +0.496]"),
        (Gap(0.2, -0.04, 0.44), "+0.20 [-0.04, +0.44]"),
        (Gap(1.0, 0.5, 1.5), "+1.0 [+0.5, +1.5]"),
        (Gap(0.0, 0.0, 0.0), "+0.0 [+0.0, +0.0]"),
    ],
)
def test_an_interval_is_printed_so_that_the_side_of_0_can_be_seen(gap, text):
    assert str(gap) == text


@pytest.mark.parametrize("scale", [1, 3])
def test_the_sweep_goes_on_until_top_1_falls(scale):
    found = trade_off(scale * logits(0), LABELS, COUNTS)
    top1 = [100 * naive(scale * logits(0), LABELS, tau).mean() for tau in np.arange(0, 8.1, 0.25)]
    assert found.best().tau == 0.25 * int(np.argmax(top1))
    assert found.taus[-1] == max(2, found.best().tau + 0.25)
    assert [row["top1"] for row in found.rows] == pytest.approx(top1[: len(found.rows)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS[::-1].copy()}, "same images"),
        ({"counts": COUNTS + 1}, "class counts differ"),
        ({"groups": OTHERS}, "same groups"),
        ({"counts": COUNTS * 0 + 50}, "many-shot classes"),
    ],
)
def test_curves_that_do_not_belong_together_are_refused(changes, message):
    other = trade_off(**({"logits": logits(0), "labels": LABELS, "counts": COUNTS} | changes))
    with pytest.raises(TradeOffError, match=message):
        place(other, trade_off(logits(0), LABELS, COUNTS))


@pytest.mark.parametrize(("few", "expected"), [(41.0, 1), (44.9, 2), (48.0, 3), (39.0, 1)])
def test_on_a_level_stretch_the_point_nearest_in_few_shot_accuracy_counts(few, expected):
    curve = Curve(
        np.arange(5.0),
        np.array([90.0, 80.0, 80.0, 80.0, 70.0]),
        np.array([30.0, 40.0, 45.0, 50.0, 55.0]),
        np.array([60.0, 61.0, 62.0, 63.0, 62.0]),
    )
    assert curve.at_many(80.0, few, 62.5) == expected
