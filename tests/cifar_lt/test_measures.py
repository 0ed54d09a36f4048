"""Measures of a finished run, against other libraries and against the method that adjusts its test logits itself."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.data import DataError, hold_out
from vlltr_plugin.cifar_lt.measures import TAUS, measures
from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.results import read
from vlltr_plugin.cifar_lt.sweep import Sweep
from vlltr_plugin.cifar_lt.training import Schedule, Training

COUNTS = torch.tensor([200, 50, 5])


def test_measures_are_those_of_other_libraries():
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    labels = torch.arange(300) % 3
    logits = 2 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(300), labels] += 1
    found = measures(logits, labels, COUNTS)
    accuracies = [100 * float((logits[labels == c].argmax(1) == c).double().mean()) for c in range(3)]
    assert found["class_errors"] == pytest.approx([100 - one for one in accuracies], abs=0.01)
    expected = {group: 100 - one for group, one in zip(("many", "medium", "few"), accuracies, strict=True)}
    assert found["group_errors"] == pytest.approx(expected, abs=1e-4)
    assert found["worst_class"] == pytest.approx(min(accuracies), abs=1e-4)
    assert found["harmonic_mean"] == pytest.approx(stats.hmean(accuracies), abs=1e-4)
    ece = 100 * metrics.multiclass_calibration_error(logits.double().softmax(1), labels, 3, n_bins=15, norm="l1")
    assert found["ece"] == pytest.approx(float(ece), abs=1e-4)
    assert found["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits.double(), labels)), abs=1e-6)


def test_a_training_that_diverged_is_still_a_line_of_json():
    found = measures(torch.full((6, 3), torch.nan), torch.arange(6) % 3, COUNTS)
    assert json.loads(json.dumps(found, allow_nan=False))["nll"] is None


def by_class(logits, labels, prior, tau):
    """Error of each class with tau log prior taken off, in float64."""
    wrong = (logits.double().numpy() - tau * np.log(prior.numpy())).argmax(1) != labels.numpy()
    return np.array([100 * wrong[labels.numpy() == c].mean() for c in range(10)])


@pytest.mark.parametrize("sampler", ["uniform", "sqrt"])
def test_adjustment_after_training_is_the_method_of_this_name_and_trains_nothing_else(digits, sampler):
    batches = Batches(hold_out(digits, 0.2), torch.device("cpu"), sampler)
    schedule = Schedule(epochs=4, start_epoch=1, batch_size=50, sampler=sampler)
    plain, itself, margins = (
        Training(batches, METHODS[name], schedule, [0]) for name in ("ce", "logit-adjustment", "dv-la")
    )
    for training in (plain, itself, margins):
        for _ in range(3):
            training.train()
        assert training.measured == [{}]  # before the last epoch
        with torch.no_grad():
            for module in training.model.train().modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 1.0  # a few steps leave statistics of another network
            training.model(next(batches.test(1)))
            logits = torch.cat([training.model.eval()(images)[0] for images in batches.test(1)])
            for parameter in training.model.head.parameters():
                parameter *= 4 / logits.std()  # so that some classes change places, not all
        training._test()
    for one, two in zip(plain.model.parameters(), itself.model.parameters(), strict=True):
        assert torch.equal(one, two)
    rows = {row["tau"]: row for row in plain.measured[0]["adjusted"]}
    assert tuple(rows) == TAUS
    assert rows[0]["error"] == plain.curve[0][-1][1] != itself.curve[0][-1][1]
    if sampler == "uniform":
        assert rows[1]["error"] == itself.curve[0][-1][1]
        assert rows[1]["group_errors"] == itself.measured[0]["group_errors"]
    with torch.no_grad():
        test, held = (
            torch.cat([plain.model(images)[0][0] for images in part])
            for part in (batches.test(1), batches.validation(1))
        )
    for tau in (0.5, 1, 2):
        own = by_class(test, batches.test_labels, batches.draws, tau)
        assert rows[tau]["error"] == pytest.approx(own.mean(), abs=1e-4)  # 5 test images of each class
        validation = by_class(held, batches.validation_labels, batches.draws, tau)
        assert rows[tau]["validation_error"] == pytest.approx(validation.mean(), abs=1e-4)
    assert len({row["validation_error"] for row in rows.values()}) > 1
    assert all("adjusted" not in training.measured[0] for training in (itself, margins))


def test_images_held_out_are_not_trained_on(digits):
    data = hold_out(digits, 0.2)
    whole, kept = digits.class_counts, data.class_counts
    assert (np.bincount(data.y_val) == np.maximum(1, np.round(0.2 * whole))).all()
    assert (kept + np.bincount(data.y_val) == whole).all()
    images = {image.tobytes() for image in data.x_train} | {image.tobytes() for image in data.x_val}
    assert images == {image.tobytes() for image in digits.x_train}
    assert hold_out(digits, 0.2).x_val.tobytes() == data.x_val.tobytes()


@pytest.mark.parametrize(("share", "words"), [(0.5, "class 9 has 3 in all"), (1.0, "between 0 and 1")])
def test_a_share_that_leaves_too_few_images_is_refused(digits, share, words):
    with pytest.raises(DataError, match=words):
        hold_out(digits, share)


def test_without_images_held_out_no_validation_error_is_written(digits, tmp_path):
    schedule, labels = Schedule(epochs=1, batch_size=50), {"dataset": "digits", "imbalance": 20}
    path = tmp_path / "runs.jsonl"
    Sweep(Batches(digits, torch.device("cpu")), labels, schedule, path, say=lambda line: None).run(["ce"], [0])
    (line,) = read(path)
    assert {"class_errors", "worst_class", "harmonic_mean", "ece", "nll"} < line.keys()
    assert all("validation_error" not in row for row in line["adjusted"])
