"""The numbers of an evaluation against naive loops; those that a trade-off curve has too are in its tests."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from two_outputs import BOUNDS, CLASSES, COUNTS, SHARE, Outputs, collect, naive_probabilities, percent, two_outputs

import vlltr_plugin.compat  # noqa: F401  (before torchmetrics)
from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.evaluate.files import per_class_csv
from vlltr_plugin.report.tradeoff.curve import curve_of
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector, Predictions

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    return two_outputs()


def evaluated(outputs: Outputs) -> dict:
    collector = collect(outputs)
    return evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)


def made(labels, top1, confidence, counts, names=None) -> dict:
    """The evaluation of made-up predictions of one rule."""
    labels, top1 = np.asarray(labels), np.asarray(top1)
    number = len(labels)
    predictions = Predictions(top1, labels >= 0, np.broadcast_to(confidence, number).astype(float), np.ones(number))
    return evaluate_predictions(labels, {"single": predictions}, np.asarray(counts), names)


def test_every_number_of_every_rule_is_the_naive_loops(outputs) -> None:
    found = evaluated(outputs)
    *branches, labels = outputs
    labels = labels.tolist()
    assert set(found["rules"]) == {"mixture", "sum", "visual", "image_text"}
    for rule, values in found["rules"].items():
        rows = naive_probabilities(branches, rule, 0.0)
        order = [sorted(range(CLASSES), key=lambda c, row=row: -row[c]) for row in rows]
        hits = [ranked[0] == label for ranked, label in zip(order, labels, strict=True)]
        of_class = {
            c: percent([hit for hit, label in zip(hits, labels, strict=True) if label == c]) for c in set(labels)
        }
        assert values["top1"] == pytest.approx(percent(hits))
        in_five = [label in ranked[:5] for ranked, label in zip(order, labels, strict=True)]
        assert values["top5"] == pytest.approx(percent(in_five))
        assert values["macro_top1"] == pytest.approx(sum(of_class.values()) / len(of_class))
        worst = min(of_class, key=lambda c: (of_class[c], c))
        assert values["worst_class"] == {"class": worst, "name": None, "top1": of_class[worst]}
        assert of_class[2] == values["harmonic_top1"] == 0
        assert values["classes_at_0"] == sum(accuracy == 0 for accuracy in of_class.values())
        losses = [-math.log(row[label]) for row, label in zip(rows, labels, strict=True)]
        assert values["cross_entropy"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        bins = values["reliability"]
        rebuilt = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins) / len(labels)
        assert 100 * rebuilt == pytest.approx(values["ece"], rel=1e-5)


@pytest.mark.parametrize("convention", BOUNDS)
def test_groups_are_the_naive_loops_by_either_convention(outputs, convention: str) -> None:
    found, predictions, labels = evaluated(outputs), collect(outputs).predictions(), outputs[2].tolist()
    assert set(found["groups"][convention]) == set(BOUNDS[convention])
    for group, (least, most) in BOUNDS[convention].items():
        members = [c for c in range(CLASSES) if least <= COUNTS[c] <= most]
        images = [i for i, label in enumerate(labels) if label in members]
        assert found["groups"][convention][group] == {"classes": len(members), "images": len(images)}
        for rule, values in found["rules"].items():
            hits = {i: bool(predictions[rule].top1[i] == labels[i]) for i in images}
            of_class = [percent([hit for i, hit in hits.items() if labels[i] == c]) for c in members if c in labels]
            shown = values["groups"][convention][group]
            assert shown["micro"] == pytest.approx(percent(list(hits.values())))
            assert shown["macro"] == pytest.approx(sum(of_class) / len(of_class))
    assert found["groups"]["untrained"] == {"classes": 1, "images": 5}


def test_the_hosts_keys_take_overall_from_the_mixture_and_groups_from_the_sum(outputs) -> None:
    found = evaluated(outputs)
    rules, upstream = found["rules"], found["rules"]["sum"]["groups"]["upstream"]
    assert rules["mixture"]["top1"] != rules["sum"]["top1"]
    tops = {"acc": "mixture", "acc0_": "visual", "acc1_": "image_text"}
    groups = {"many": "many", "median": "medium", "low": "few", "10-shot": "10-shot", "5-shot": "5-shot"}
    expected = {f"{key}{top}": rules[rule][f"top{top}"] for key, rule in tops.items() for top in (1, 5)}
    assert found["host_log"] == expected | {key: upstream[group]["micro"] for key, group in groups.items()}


def test_one_output_gives_one_rule(outputs) -> None:
    visual, _, labels = outputs
    alone, both = evaluated((visual, labels)), evaluated(outputs)
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
    found = made([0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0], 0.5, [5, 200], ["a", "b"])["rules"]["single"]
    assert found["harmonic_top1"] == pytest.approx(2 / (1 / 50 + 1 / 75))
    assert found["worst_class"] == {"class": 0, "name": "a", "top1": 50.0}
    assert (found["macro_top1"], found["top1"]) == (62.5, pytest.approx(100 * 4 / 6))


EDGES = torch.linspace(0, 1, 16, dtype=torch.float64).numpy()[1:15]


@pytest.mark.parametrize(
    ("top1", "confidence", "images"),
    [
        ([0, 0, 1, 0], [1.0, 0.95, 1.0, 0.97], [4]),  # exactly 1: in the last bin
        ((np.arange(42) % 4 == 1).astype(int), np.concatenate([EDGES, EDGES + 0.02, EDGES + 0.04]), [3] * 14),
    ],
)
def test_a_confidence_on_an_edge_falls_into_the_upper_bin_in_the_error_too(top1, confidence, images) -> None:
    found = made(np.zeros(len(top1), int), top1, confidence, [5, 5])["rules"]["single"]
    assert [entry["images"] for entry in found["reliability"]] == images
    rebuilt = sum(entry["images"] * abs(entry["accuracy"] - entry["confidence"]) for entry in found["reliability"])
    assert 100 * rebuilt / len(top1) == pytest.approx(found["ece"], abs=1e-5)


def test_confusion_counts_the_worst_classes_against_each_other_and_the_rest() -> None:
    rng, classes = np.random.default_rng(0), 30
    labels = np.repeat(np.arange(classes), 5)
    top1 = np.where(rng.random(len(labels)) < np.linspace(0, 1, classes)[labels], labels, rng.integers(0, 30, 150))
    names = [f"c{index}" for index in range(classes)]
    found = made(labels, top1, 0.5, np.full(classes, 50), names)["confusion"]
    accuracy = [sum(top1[i] == c for i in range(150) if labels[i] == c) for c in range(classes)]
    assert found["classes"] == sorted(range(classes), key=lambda c: (accuracy[c], c))[:20]
    for row, own in enumerate(found["classes"]):
        predicted = [int(top1[i]) for i in range(150) if labels[i] == own]
        assert found["counts"][row][:-1] == [predicted.count(c) for c in found["classes"]]
        assert found["counts"][row][-1] == sum(c not in found["classes"] for c in predicted)
        wrong = [c for c in predicted if c != own]
        taken = found["most_taken_for"][row]
        assert taken["images"] == max(wrong.count(c) for c in wrong) == wrong.count(taken["class"])
        assert taken["name"] == names[taken["class"]]


def test_the_csv_has_one_row_a_class_with_accuracy_only_where_there_are_images(outputs) -> None:
    collector = collect(outputs)
    labels, by_rule = collector.labels(), collector.predictions()
    names = ["a, b", *"bcdefghi"]
    curve = curve_of(collector, COUNTS, "draws", UPSTREAM)
    rows = list(csv.DictReader(io.StringIO(per_class_csv(by_rule, curve, names))))
    assert [row["name"] for row in rows] == names
    assert [int(row["training_images"]) for row in rows] == COUNTS.tolist()
    for convention, bounds in BOUNDS.items():
        groups = {name: bounds[name] for name in ("many", "medium", "few")}
        expected = [next((name for name, (least, most) in groups.items() if least <= n <= most), "") for n in COUNTS]
        assert [row[f"group_{convention}"] for row in rows] == expected
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
def test_outputs_and_labels_that_do_not_fit_are_refused(logits, labels, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        PredictionCollector(CLASSES, outputs=("a", "b")[: 2 * isinstance(logits, tuple)]).add(logits, labels)
