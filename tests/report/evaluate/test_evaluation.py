"""The numbers of an evaluation against naive loops."""

import csv
import io
import math

import numpy as np
import pytest
import torch

import vlltr_plugin.compat  # noqa: F401  (before torchmetrics)
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector, Predictions

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")

CLASSES = 9
TRAIN_COUNTS = np.array([150, 100, 99, 21, 20, 19, 5, 1, 0])  # on both sides of every threshold, and none at all
SHARE = 0.2


@pytest.fixture
def outputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of both branches that are right more often than not, and labels: unequally many, of 8 classes of 9."""
    torch.manual_seed(0)
    labels = torch.tensor([0] * 7 + [1] * 3 + [2] * 4 + [3] * 9 + [4] * 5 + [5] * 6 + [6] * 4 + [8] * 3)
    labels = labels[torch.randperm(len(labels))]
    hints = 1.5 * torch.nn.functional.one_hot(labels, CLASSES)
    visual, image_text = (scale * torch.randn(len(labels), CLASSES) + hints for scale in (1.0, 2.0))
    image_text[labels == 6, 6] -= 30  # a class that no rule gets right
    visual[labels == 6, 6] -= 30
    return visual, image_text, labels


def collect(outputs: tuple[torch.Tensor, ...], batch: int = 10) -> PredictionCollector:
    *branches, labels = outputs
    names = ("visual", "image_text") if len(branches) > 1 else ()
    collector = PredictionCollector(CLASSES, outputs=names, first_share=SHARE)
    for start in range(0, len(labels), batch):
        parts = [branch[start : start + batch] for branch in branches]
        collector.add(parts if len(parts) > 1 else parts[0], labels[start : start + batch])
    return collector


def probabilities(outputs: tuple[torch.Tensor, ...], rule: str) -> list[list[float]]:
    """In plain Python."""

    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(value) for value in row]
        return [power / sum(powers) for power in powers]

    visual, image_text = outputs[0].tolist(), outputs[-2].tolist()
    if rule == "sum":
        return [softmax([a + b for a, b in zip(*rows, strict=True)]) for rows in zip(visual, image_text, strict=True)]
    if rule == "mixture":
        return [
            [SHARE * a + (1 - SHARE) * b for a, b in zip(softmax(one), softmax(other), strict=True)]
            for one, other in zip(visual, image_text, strict=True)
        ]
    return [softmax(row) for row in (image_text if rule == "image_text" else visual)]


def percent(hits: list[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


def test_every_number_of_every_rule_is_the_naive_loops(outputs: tuple[torch.Tensor, ...]) -> None:
    collector = collect(outputs)
    found = evaluate_predictions(collector.labels(), collector.predictions(), TRAIN_COUNTS)
    labels = outputs[2].tolist()
    assert set(found["rules"]) == {"mixture", "sum", "visual", "image_text"}
    for rule, values in found["rules"].items():
        rows = probabilities(outputs, rule)
        order = [sorted(range(CLASSES), key=lambda c, row=row: -row[c]) for row in rows]
        hits = [ranked[0] == label for ranked, label in zip(order, labels, strict=True)]
        per_class = {
            c: percent([hit for hit, label in zip(hits, labels, strict=True) if label == c]) for c in set(labels)
        }
        assert values["top1"] == pytest.approx(percent(hits))
        assert values["top5"] == pytest.approx(
            percent([label in ranked[:5] for ranked, label in zip(order, labels, strict=True)])
        )
        assert values["macro_top1"] == pytest.approx(sum(per_class.values()) / len(per_class))
        worst = min(per_class, key=lambda c: (per_class[c], c))
        assert values["worst_class"] == {"class": worst, "name": None, "top1": per_class[worst]}
        assert per_class[6] == values["harmonic_top1"] == 0
        assert values["classes_at_0"] == sum(accuracy == 0 for accuracy in per_class.values())
        losses = [-math.log(row[label]) for row, label in zip(rows, labels, strict=True)]
        assert values["cross_entropy"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        confidence = [max(row) for row in rows]
        gap = 0.0
        for low in range(15):
            inside = [i for i, value in enumerate(confidence) if low / 15 <= value < (low + 1) / 15]
            gap += abs(sum(hits[i] - confidence[i] for i in inside)) / len(labels)
        assert values["ece"] == pytest.approx(100 * gap, rel=1e-5)
        bins = values["reliability"]
        rebuilt = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins) / len(labels)
        assert 100 * rebuilt == pytest.approx(values["ece"], rel=1e-5)


@pytest.mark.parametrize("convention", ["upstream", "others"])
def test_groups_are_the_naive_loops_by_either_convention(outputs: tuple[torch.Tensor, ...], convention: str) -> None:
    collector = collect(outputs)
    predictions = collector.predictions()
    found = evaluate_predictions(collector.labels(), predictions, TRAIN_COUNTS)
    bounds = {
        "upstream": {"many": (100, 10**9), "medium": (21, 99), "few": (1, 20), "10-shot": (1, 10), "5-shot": (1, 5)},
        "others": {"many": (101, 10**9), "medium": (20, 100), "few": (1, 19)},
    }[convention]
    labels = outputs[2].tolist()
    assert set(found["groups"][convention]) == set(bounds)
    for group, (least, most) in bounds.items():
        members = [c for c in range(CLASSES) if least <= TRAIN_COUNTS[c] <= most]
        images = [i for i, label in enumerate(labels) if label in members]
        assert found["groups"][convention][group] == {"classes": len(members), "images": len(images)}
        for rule, values in found["rules"].items():
            hits = [bool(predictions[rule].top1[i] == labels[i]) for i in images]
            of_class = [
                percent([hit for hit, i in zip(hits, images, strict=True) if labels[i] == c])
                for c in members
                if c in labels
            ]
            assert values["groups"][convention][group]["micro"] == pytest.approx(percent(hits))
            assert values["groups"][convention][group]["macro"] == pytest.approx(sum(of_class) / len(of_class))
    assert found["groups"]["untrained"] == {"classes": 1, "images": 3}


def test_the_hosts_keys_take_overall_from_the_mixture_and_groups_from_the_sum(
    outputs: tuple[torch.Tensor, ...],
) -> None:
    collector = collect(outputs)
    found = evaluate_predictions(collector.labels(), collector.predictions(), TRAIN_COUNTS)
    rules, log = found["rules"], found["host_log"]
    upstream = rules["sum"]["groups"]["upstream"]
    assert rules["mixture"]["top1"] != rules["sum"]["top1"]
    assert log == {
        "acc1": rules["mixture"]["top1"],
        "acc5": rules["mixture"]["top5"],
        "acc0_1": rules["visual"]["top1"],
        "acc0_5": rules["visual"]["top5"],
        "acc1_1": rules["image_text"]["top1"],
        "acc1_5": rules["image_text"]["top5"],
        "many": upstream["many"]["micro"],
        "median": upstream["medium"]["micro"],
        "low": upstream["few"]["micro"],
        "10-shot": upstream["10-shot"]["micro"],
        "5-shot": upstream["5-shot"]["micro"],
    }


def test_one_branch_gives_one_rule(outputs: tuple[torch.Tensor, ...]) -> None:
    visual, _, labels = outputs
    two, one = collect(outputs), collect((visual, labels))
    alone = evaluate_predictions(one.labels(), one.predictions(), TRAIN_COUNTS)
    both = evaluate_predictions(two.labels(), two.predictions(), TRAIN_COUNTS)
    assert alone["rules"] == {"single": both["rules"]["visual"]}
    assert alone["host_log"]["acc1"] == alone["rules"]["single"]["top1"]
    assert alone["host_log"]["low"] == alone["rules"]["single"]["groups"]["upstream"]["few"]["micro"]
    assert alone["confusion"]["rule"] == "single"


def test_the_sum_is_ranked_in_the_precision_of_the_logits_as_the_host_ranks_it() -> None:
    one, other = torch.tensor([[2048.0, 2047.0]]).half(), torch.tensor([[0.75, 1.0]]).half()
    for order in ([0, 1], [1, 0]):  # 2048.75 and 2048 are the same in float16, so the order decides
        total = (one + other)[:, order]
        collector = PredictionCollector(2, outputs=("visual", "image_text"), first_share=SHARE)
        collector.add((one[:, order], other[:, order]), torch.tensor([0]))
        assert collector.predictions()["sum"].top1.tolist() == total.topk(2).indices[:, 0].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_logits_five_classes_are_the_top_five_the_prediction_among_them(dtype: torch.dtype) -> None:
    collector = PredictionCollector(100)
    collector.add(torch.zeros(100, 100, dtype=dtype), torch.arange(100))
    found = collector.predictions()["single"]
    assert found.in_top5.sum() == 5
    assert found.in_top5[0]
    assert (found.top1 == 0).all()


def test_harmonic_mean_without_a_class_at_0() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    predictions = Predictions(np.array([0, 1, 1, 1, 1, 0]), labels >= 0, np.full(6, 0.5), np.ones(6))
    found = evaluate_predictions(labels, {"single": predictions}, np.array([5, 200]), ["a", "b"])["rules"]["single"]
    assert found["harmonic_top1"] == pytest.approx(2 / (1 / 50 + 1 / 75))
    assert found["worst_class"] == {"class": 0, "name": "a", "top1": 50.0}
    assert (found["macro_top1"], found["top1"]) == (62.5, pytest.approx(100 * 4 / 6))


def test_a_confidence_of_exactly_1_falls_into_the_last_bin() -> None:
    labels = np.zeros(4, dtype=np.int64)
    predictions = Predictions(np.array([0, 0, 1, 0]), labels == 0, np.array([1.0, 0.95, 1.0, 0.97]), np.ones(4))
    found = evaluate_predictions(labels, {"single": predictions}, np.array([5, 5]))["rules"]["single"]
    assert [entry["images"] for entry in found["reliability"]] == [4]
    assert found["ece"] == pytest.approx(100 * abs(0.75 - 3.92 / 4), abs=1e-5)


def test_a_confidence_on_an_edge_falls_into_the_upper_bin_in_both() -> None:
    edges = torch.linspace(0, 1, 16, dtype=torch.float64).numpy()[1:15]
    labels = np.zeros(42, dtype=np.int64)
    confidence = np.concatenate([edges, edges + 0.02, edges + 0.04])
    predictions = Predictions((np.arange(42) % 4 == 1).astype(np.int64), labels == 0, confidence, np.ones(42))
    found = evaluate_predictions(labels, {"single": predictions}, np.array([5, 5]))["rules"]["single"]
    assert [entry["images"] for entry in found["reliability"]] == [3] * 14
    rebuilt = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in found["reliability"])
    assert 100 * rebuilt / 42 == pytest.approx(found["ece"])


def test_confusion_counts_the_worst_classes_against_each_other_and_the_rest() -> None:
    rng = np.random.default_rng(0)
    classes = 30
    labels = np.repeat(np.arange(classes), 5)
    top1 = np.where(rng.random(len(labels)) < np.linspace(0, 1, classes)[labels], labels, rng.integers(0, 30, 150))
    predictions = Predictions(top1, labels >= 0, np.full(150, 0.5), np.ones(150))
    names = [f"c{index}" for index in range(classes)]
    found = evaluate_predictions(labels, {"single": predictions}, np.full(classes, 50), names)["confusion"]
    accuracy = [sum(top1[i] == c for i in range(150) if labels[i] == c) for c in range(classes)]
    assert found["classes"] == sorted(range(classes), key=lambda c: (accuracy[c], c))[:20]
    for row, own in enumerate(found["classes"]):
        predicted = [int(top1[i]) for i in range(150) if labels[i] == own]
        assert found["counts"][row][:-1] == [predicted.count(c) for c in found["classes"]]
        assert found["counts"][row][-1] == sum(c not in found["classes"] for c in predicted)
        wrong = [c for c in predicted if c != own]
        taken = found["most_taken_for"][row]
        assert taken["images"] == max(wrong.count(c) for c in wrong)
        assert wrong.count(taken["class"]) == taken["images"]
        assert taken["name"] == names[taken["class"]]


def test_the_csv_has_one_row_a_class_with_accuracy_only_where_there_are_images(
    outputs: tuple[torch.Tensor, ...],
) -> None:
    from vlltr_plugin.report.evaluate.files import per_class_csv

    collector = collect(outputs)
    labels, by_rule = collector.labels(), collector.predictions()
    names = ["a, b", *"bcdefghi"]
    rows = list(csv.DictReader(io.StringIO(per_class_csv(labels, by_rule, TRAIN_COUNTS, names))))
    assert [row["name"] for row in rows] == names
    assert [int(row["training_images"]) for row in rows] == TRAIN_COUNTS.tolist()
    many, medium, few = "many", "medium", "few"
    assert [row["group_upstream"] for row in rows] == [many, many, medium, medium, few, few, few, few, ""]
    assert [row["group_others"] for row in rows] == [many, medium, medium, medium, medium, few, few, few, ""]
    for index, row in enumerate(rows):
        images = labels == index
        assert int(row["images"]) == images.sum()
        for rule, predictions in by_rule.items():
            hits = (predictions.top1 == labels)[images]
            assert row[f"top1_{rule}"] == (repr(100.0 * int(hits.sum()) / len(hits)) if len(hits) else "")


def test_rows_with_logits_that_are_not_finite_are_counted_and_the_numbers_stay_finite() -> None:
    visual, image_text = torch.randn(4, CLASSES), torch.randn(4, CLASSES)
    visual[0, 0] = math.nan
    image_text[1, 2] = math.inf
    collector = collect((visual, image_text, torch.tensor([0, 1, 2, 3])))
    assert collector.not_finite == 2
    found = evaluate_predictions(collector.labels(), collector.predictions(), TRAIN_COUNTS)
    assert found["rules"]["sum"]["cross_entropy"] is None
    assert all(math.isfinite(values["ece"]) for values in found["rules"].values())


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, 8), torch.tensor([0, 1]), "one output"),
        (torch.zeros(3, 9), torch.tensor([0, 1]), "one output"),
        ((torch.zeros(2, 9),) * 3, torch.tensor([0, 1]), "two outputs"),
        (torch.zeros(2, 9), torch.tensor([0, 9]), "one label in 0..8"),
        (torch.zeros(2, 9), torch.tensor([0.0, 1.0]), "one label in 0..8"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_are_refused(logits, labels, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        PredictionCollector(CLASSES, outputs=("a", "b")[: 2 * isinstance(logits, tuple)]).add(logits, labels)
