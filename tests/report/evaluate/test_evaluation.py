"""The numbers of an evaluation against naive loops; those that a trade-off curve has too are in its tests."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from two_outputs import (
    BOUNDS,
    CLASSES,
    COUNTS,
    OUTPUTS,
    SHARE,
    Outputs,
    collect,
    naive_numbers,
    naive_probabilities,
    percent,
)

import vlltr_plugin.compat  # noqa: F401  (before torchmetrics)
from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.evaluate.files import per_class_csv
from vlltr_plugin.report.tradeoff.curve import curve_of
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector, Predictions

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")


def evaluated(outputs: Outputs) -> dict:
    collector = collect(outputs)
    return evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)


def made(labels, top1, confidence, counts, names=None) -> dict:
    """The evaluation of made-up predictions of one rule."""
    labels, top1 = np.asarray(labels), np.asarray(top1)
    number = len(labels)
    predictions = Predictions(top1, labels >= 0, np.broadcast_to(confidence, number).astype(float), np.ones(number))
    return evaluate_predictions(labels, {"single": predictions}, np.asarray(counts), names)


@pytest.mark.parametrize("rule", ["mixture", "sum", "visual", "image_text"])
def test_every_number_of_a_rule_is_the_naive_loops(rule):
    *branches, labels = OUTPUTS
    found, labels = evaluated(OUTPUTS), labels.tolist()
    assert len(found["rules"]) == 4
    values, rows = found["rules"][rule], naive_probabilities(branches, rule, 0.0)
    expected = naive_numbers(rows, labels, {})
    assert values["ece"] == pytest.approx(expected.pop("ece"), abs=1e-4)
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    in_five = [
        label in sorted(range(CLASSES), key=lambda c, row=row: -row[c])[:5]
        for row, label in zip(rows, labels, strict=True)
    ]
    assert values["top5"] == pytest.approx(percent(in_five))
    losses = [-math.log(row[label]) for row, label in zip(rows, labels, strict=True)]
    assert values["cross_entropy"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)

    def part(classes):
        inside = [i for i, label in enumerate(labels) if label in classes]
        return naive_numbers([rows[i] for i in inside], [labels[i] for i in inside], {}), len(inside)

    of_class = {c: part([c])[0]["top1"] for c in set(labels)}
    worst = min(of_class, key=lambda c: (of_class[c], c))
    assert values["worst_class"] == {"class": worst, "name": None, "top1": of_class[worst]}
    assert values["classes_at_0"] == sum(accuracy == 0 for accuracy in of_class.values()) > 0
    assert found["groups"]["untrained"] == {"classes": 1, "images": 5}
    for convention, bounds in BOUNDS.items():
        assert set(found["groups"][convention]) == set(bounds)
        for group, (least, most) in bounds.items():
            members = [c for c in range(CLASSES) if least <= COUNTS[c] <= most]
            numbers, images = part(members)
            assert found["groups"][convention][group] == {"classes": len(members), "images": images}
            shown = values["groups"][convention][group]
            assert (shown["micro"], shown["macro"]) == pytest.approx((numbers["top1"], numbers["macro_top1"]))


def test_the_sum_is_ranked_in_the_precision_of_the_logits_as_the_host_ranks_it():
    one, other = torch.tensor([[2048.0, 2047.0]]).half(), torch.tensor([[0.75, 1.0]]).half()
    for order in ([0, 1], [1, 0]):  # 2048.75 and 2048 are the same in float16, so the order decides
        total = (one + other)[:, order]
        collector = PredictionCollector(2, outputs=("visual", "image_text"), first_share=SHARE)
        collector.add((one[:, order], other[:, order]), torch.tensor([0]))
        assert collector.predictions()["sum"].top1.tolist() == total.topk(2).indices[:, 0].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_logits_five_classes_are_the_top_five_the_prediction_among_them(dtype):
    collector = PredictionCollector(100)
    collector.add(torch.zeros(100, 100, dtype=dtype), torch.arange(100))
    found = collector.predictions()["single"]
    assert found.in_top5.sum() == 5
    assert found.in_top5[0]
    assert (found.top1 == 0).all()


EDGES = torch.linspace(0, 1, 16, dtype=torch.float64).numpy()[1:15]


@pytest.mark.parametrize(
    ("top1", "confidence", "images"),
    [
        ([0, 0, 1, 0], [1.0, 0.95, 1.0, 0.97], [4]),  # exactly 1: in the last bin
        ((np.arange(42) % 4 == 1).astype(int), np.concatenate([EDGES, EDGES + 0.02, EDGES + 0.04]), [3] * 14),
    ],
)
def test_a_confidence_on_an_edge_falls_into_the_upper_bin_in_the_error_too(top1, confidence, images):
    found = made(np.zeros(len(top1), int), top1, confidence, [5, 5])["rules"]["single"]
    assert [entry["images"] for entry in found["reliability"]] == images
    rebuilt = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in found["reliability"])
    assert 100 * rebuilt / len(top1) == pytest.approx(found["ece"], abs=1e-5)


def test_confusion_counts_the_worst_classes_against_each_other_and_the_rest():
    rng, classes = np.random.default_rng(0), 30
    labels = np.repeat(np.arange(classes), 5)
    top1 = np.where(rng.random(len(labels)) < np.linspace(0, 1, classes)[labels], labels, rng.integers(0, 30, 150))
    names = [f"c{index}" for index in range(classes)]
    evaluation = made(labels, top1, 0.5, np.full(classes, 50), names)
    found = evaluation["confusion"]
    accuracy = [sum(top1[i] == c for i in range(150) if labels[i] == c) for c in range(classes)]
    assert found["classes"] == sorted(range(classes), key=lambda c: (accuracy[c], c))[:20]
    assert evaluation["rules"]["single"]["worst_class"]["name"] == names[found["classes"][0]]
    for row, own in enumerate(found["classes"]):
        predicted = [int(top1[i]) for i in range(150) if labels[i] == own]
        assert found["counts"][row][:-1] == [predicted.count(c) for c in found["classes"]]
        assert found["counts"][row][-1] == sum(c not in found["classes"] for c in predicted)
        wrong = [c for c in predicted if c != own]
        taken = found["most_taken_for"][row]
        assert taken["images"] == max(wrong.count(c) for c in wrong) == wrong.count(taken["class"])
        assert taken["name"] == names[taken["class"]]


def test_the_csv_has_one_row_a_class_with_accuracy_only_where_there_are_images():
    collector = collect(OUTPUTS)
    labels, by_rule = collector.labels(), collector.predictions()
    names = ["a, b", *"bcdefghi"]
    text = per_class_csv(by_rule, curve_of(collector, COUNTS, "draws", UPSTREAM), names)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == names
    assert [int(row["training_images"]) for row in rows] == COUNTS.tolist()
    for index, row in enumerate(rows):
        for convention, bounds in BOUNDS.items():
            within = [name for name, (least, most) in bounds.items() if least <= COUNTS[index] <= most]
            assert row[f"group_{convention}"] == next(iter(within), "")
        images = labels == index
        assert int(row["images"]) == images.sum()
        for rule, predictions in by_rule.items():
            hits = (predictions.top1 == labels)[images]
            assert row[f"top1_{rule}"] == (repr(100.0 * int(hits.sum()) / len(hits)) if len(hits) else "")


def test_rows_with_logits_that_are_not_finite_are_counted_and_the_numbers_stay_finite():
    visual, image_text = torch.randn(4, CLASSES), torch.randn(4, CLASSES)
    visual[0, 0] = math.nan
    image_text[1, 2] = math.inf
    collector = PredictionCollector(CLASSES, outputs=("visual", "image_text"))
    collector.add((visual, image_text), torch.tensor([0, 1, 2, 3]))
    assert collector.not_finite == 2
    found = evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)
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
def test_outputs_and_labels_that_do_not_fit_are_refused(logits, labels, message):
    with pytest.raises(ReportError, match=message):
        PredictionCollector(CLASSES, outputs=("a", "b")[: 2 * isinstance(logits, tuple)]).add(logits, labels)
