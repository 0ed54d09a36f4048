"""Every number of a trade-off curve against loops in plain Python, for one output and for VL-LTR's two rules."""

import math

import numpy as np
import pytest
import torch

from vlltr_plugin.core.shot_groups import OTHERS, UPSTREAM
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.tradeoff.curve import curve_of, log_prior
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector

pytest.importorskip("torchmetrics")

COUNTS = np.array([150, 101, 100, 99, 21, 20, 19, 5, 0])  # on both sides of every threshold, and none at all
DRAWS = np.sqrt(COUNTS)
CLASSES = len(COUNTS)
TAUS = (-0.5, 0.0, 0.3, 1.0, 2.5)
SHARE = 0.7


@pytest.fixture(scope="module")
def outputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of two branches that lean to large classes, and labels: unequally many, of all classes but one."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0] * 40 + [1] * 12 + [2] * 9 + [3] * 20 + [4] * 11 + [6] * 17 + [7] * 8 + [8] * 5)
    hints = 1.6 * torch.nn.functional.one_hot(labels, CLASSES) + torch.from_numpy(np.log(COUNTS + 2.0)).float()
    visual, image_text = (hints + scale * torch.randn(len(labels), CLASSES, generator=generator) for scale in (1, 2))
    return visual, image_text, labels


def collect(outputs, taus=TAUS, prior=DRAWS, batch: int = 50) -> PredictionCollector:
    *branches, labels = outputs
    names = ("visual", "image_text") if len(branches) > 1 else ()
    collector = PredictionCollector(CLASSES, taus, log_prior(prior), names, SHARE)
    for start in range(0, len(labels), batch):
        parts = [branch[start : start + batch] for branch in branches]
        collector.add(parts if len(parts) > 1 else parts[0], labels[start : start + batch])
    return collector


def curve(outputs, taus=TAUS, prior=DRAWS, groups=UPSTREAM, batch: int = 50):
    return curve_of(collect(outputs, taus, prior, batch), COUNTS, "draws", groups)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def adjusted_probabilities(branches, rule: str, tau: float) -> list[list[float]]:
    """Each branch adjusted, then the rule; a class that is never drawn as the rarest that is."""
    least = min(draw for draw in DRAWS.tolist() if draw > 0)
    shift = [tau * math.log(max(draw, least)) for draw in DRAWS.tolist()]
    rows = []
    for image in zip(*(branch.double().tolist() for branch in branches), strict=True):
        moved = [[logit - own for logit, own in zip(logits, shift, strict=True)] for logits in image]
        if rule == "mixture":
            parts = zip(*map(softmax, moved), strict=True)
            rows.append([SHARE * visual + (1 - SHARE) * image_text for visual, image_text in parts])
        else:
            rows.append(softmax([sum(parts) for parts in zip(*moved, strict=True)]))
    return rows


def percent(hits: list[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


def naive(rows: list[list[float]], labels: list[int], bounds: dict[str, tuple[int, int]]) -> dict[str, float | None]:
    hits = [row.index(max(row)) == label for row, label in zip(rows, labels, strict=True)]
    found = {"top1": percent(hits)}
    for group, (least, most) in bounds.items():
        found[group] = percent([hit for hit, label in zip(hits, labels, strict=True) if least <= COUNTS[label] <= most])
    of_class = [percent([h for h, label in zip(hits, labels, strict=True) if label == c]) for c in sorted(set(labels))]
    found["macro_top1"] = sum(of_class) / len(of_class)
    found["harmonic_top1"] = 0.0 if 0 in of_class else len(of_class) / sum(1 / value for value in of_class)
    gap = 0.0
    for low in range(15):
        inside = [
            i for i, row in enumerate(rows) if low / 15 <= max(row) < (low + 1) / 15 or (low == 14 and max(row) == 1)
        ]
        gap += abs(sum(hits[i] - max(rows[i]) for i in inside))
    found["ece"] = 100 * gap / len(labels)
    return found


BOUNDS = {
    "upstream": (UPSTREAM, {"many": (100, 10**9), "medium": (21, 99), "few": (1, 20)}),
    "others": (OTHERS, {"many": (101, 10**9), "medium": (20, 100), "few": (1, 19)}),
}


@pytest.mark.parametrize("rule", ["mixture", "sum", "single"])
@pytest.mark.parametrize("groups", BOUNDS)
def test_every_column_at_every_tau_is_the_naive_loops(outputs, rule: str, groups: str) -> None:
    convention, bounds = BOUNDS[groups]
    *branches, labels = outputs
    branches = branches[1:] if rule == "single" else branches
    found = curve((*branches, labels), groups=convention)
    assert set(found.points) == ({"single"} if rule == "single" else {"mixture", "sum"})
    assert [point.tau for point in found.points[rule]] == list(TAUS)
    for point in found.points[rule]:
        expected = naive(adjusted_probabilities(branches, rule, point.tau), labels.tolist(), bounds)
        for name, value in expected.items():
            assert getattr(point, name) == pytest.approx(value, abs=1e-4 if name == "ece" else 1e-9), (point.tau, name)
    assert len({point.few for point in found.points[rule]}) > 2  # else tau would not matter here


def test_the_rows_are_what_the_host_logs_overall_of_the_mixture_and_groups_of_the_sum(outputs) -> None:
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("two_branch", [True, False])
def test_at_tau_0_it_is_the_evaluation_to_the_last_bit(outputs, dtype: torch.dtype, two_branch: bool) -> None:
    visual, image_text, labels = outputs
    branches = [logits.to(dtype) for logits in (visual, image_text)][: 1 + two_branch]
    collector = collect((*branches, labels))
    evaluation = evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)
    found = curve((*branches, labels))
    for rule, points in found.points.items():
        (point,) = [point for point in points if point.tau == 0]
        today = evaluation["rules"][rule]
        for name in ("top1", "macro_top1", "harmonic_top1", "ece"):
            assert getattr(point, name) == today[name]
        for group in ("many", "medium", "few"):
            assert getattr(point, group) == today["groups"]["upstream"][group]["micro"]
    (row,) = [row for row in found.rows if row["tau"] == 0]
    log = evaluation["host_log"]
    assert list(row.values()) == [0.0, log["acc1"], log["many"], log["median"], log["low"]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_adjusted_in_float32(outputs, dtype: torch.dtype) -> None:
    visual, image_text, labels = (tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in outputs)
    wide = curve((visual.double(), image_text.double(), labels))
    narrow = curve((visual, image_text, labels))
    for rule, points in narrow.points.items():
        for one, other in zip(points, wide.points[rule], strict=True):
            if one.tau:  # at 0 the host's own precision decides
                assert one.few == other.few
                assert one.top1 == other.top1


def test_a_constant_prior_changes_nothing(outputs) -> None:
    found = curve(outputs, prior=np.full(CLASSES, 37.0))
    for points in found.points.values():
        assert {tuple(vars(point).values())[1:6] for point in points} == {tuple(vars(points[0]).values())[1:6]}
    for predictions in found.predictions.values():
        assert (predictions == predictions[0]).all()


def test_the_unit_of_the_prior_does_not_matter(outputs) -> None:
    one, other = curve(outputs, prior=DRAWS), curve(outputs, prior=1e-6 * DRAWS)
    assert one.rows == other.rows


def test_a_class_that_is_never_drawn_gains_as_much_as_the_rarest_that_is() -> None:
    found = log_prior([100, 0, 10, 1])
    assert found.tolist() == pytest.approx([0.0, math.log(0.01), math.log(0.1), math.log(0.01)])
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    collector = PredictionCollector(4, [0.25], found)
    collector.add(logits, torch.tensor([0]))
    assert collector.predictions()["single"].at(0.25)[0].tolist() == [0]  # minus infinity would have made it class 1


def test_batches_make_no_difference(outputs) -> None:
    assert curve(outputs, batch=1).rows == curve(outputs, batch=1000).rows
    small, large = (collect(outputs, batch=batch).predictions() for batch in (1, 1000))
    for rule, predictions in small.items():
        for name in ("top1", "in_top5"):
            assert np.array_equal(getattr(predictions, name), getattr(large[rule], name))
        assert predictions.confidence == pytest.approx(large[rule].confidence)


def test_a_group_without_images_has_no_number(outputs) -> None:
    visual, _, labels = outputs
    inside = labels < 4
    found = curve((visual[inside], labels[inside]))
    assert {point.few for point in found.points["single"]} == {None}
    assert all(point.many is not None for point in found.points["single"])
    assert found.csv().splitlines()[1].endswith(",")


def test_a_logit_that_is_no_number_spoils_its_own_image_only(outputs) -> None:
    visual, image_text, labels = (tensor.clone() for tensor in outputs)
    clean = curve((visual, image_text, labels))
    visual[0, 3] = math.nan
    found = curve((visual, image_text, labels))
    for rule in ("mixture", "sum"):
        assert (found.predictions[rule][:, 1:] == clean.predictions[rule][:, 1:]).all()
        assert all(math.isfinite(point.ece) for point in found.points[rule])
