"""What inspect says of radius and class size, where the truth is known."""

from __future__ import annotations

import hashlib
import itertools
import json
import math

import numpy as np
import pytest
import torch
from run_arrays import COUNTS as RUN_COUNTS
from run_arrays import epoch_arrays
from scipy.stats import rankdata

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    InverseSqrtFrequency,
    LogitAdjustedLoss,
    ReweightedLoss,
    RunRecorder,
    Uniform,
    Weighting,
)
from vlltr_plugin.cli import main
from vlltr_plugin.core.moments import log_volume_bias
from vlltr_plugin.report.inspect import Inspection, findings, inspect_run, write_pictures
from vlltr_plugin.report.inspect.size_relation import Radii, accuracy_relation, chance_level, rank_correlation

C = 30
COUNTS = np.round(500 * 100 ** (-np.arange(C) / (C - 1))).astype(int)  # 500 to 5

NORMAL = lambda rng, n: rng.standard_normal((n, C))  # noqa: E731
CORRELATED = lambda rng, n: rng.standard_normal((n, 3)) @ np.random.default_rng(9).standard_normal((3, C))  # noqa: E731
UNIFORM = lambda rng, n: rng.uniform(-1, 1, (n, C))  # noqa: E731
LAPLACE = lambda rng, n: rng.laplace(size=(n, C))  # noqa: E731


def trained(folder, radius, seed=0, logits=NORMAL, **options):
    """One recorded epoch of logits whose standard deviations are known, n of them of a class of n images."""
    rng = np.random.default_rng(seed)
    criterion = ReweightedLoss(ClassVolume(COUNTS, **options))
    rows = np.concatenate([radius(n) * logits(rng, n) for n in COUNTS])
    criterion(torch.from_numpy(rows).float(), torch.repeat_interleave(torch.arange(C), torch.tensor(COUNTS)))
    RunRecorder(folder, criterion).end_epoch(overall=1.0)
    return inspect_run(folder)[0]


def said(found: Inspection):
    return findings(found, None)[0]


CLAIMS = ("larger radii, as the paper says", "smaller radii, against the paper")


@pytest.mark.parametrize(
    ("logits", "options"),
    [
        (NORMAL, {}),
        (NORMAL, {"debias": True}),
        (NORMAL, {"min_samples": 10}),
        (NORMAL, {"variant": "bv"}),
        (NORMAL, {"features": 8}),
        (CORRELATED, {}),
        (UNIFORM, {}),
        (LAPLACE, {}),
    ],
)
def test_equal_volumes_give_no_relation_to_class_size(tmp_path, logits, options):
    claims = 0
    for seed in range(20):
        found = trained(tmp_path / str(seed), lambda n: 2.0, seed, logits, **options)
        claims += any(claim in said(found) for claim in CLAIMS)
        few, many = found.summaries[2].corrected_radius, found.summaries[0].corrected_radius
        if logits is NORMAL:
            assert few / many == pytest.approx(1, abs=0.2)
            assert f"few-shot over many-shot: {few / many:.3g} corrected" in said(found)
    assert claims <= 2


@pytest.mark.parametrize("options", [{}, {"debias": True}, {"min_samples": 10}])
@pytest.mark.parametrize(("power", "claim"), [(-0.1, CLAIMS[0]), (0.1, CLAIMS[1])])
def test_a_true_trend_is_said(tmp_path, power, claim, options):
    for seed in range(3):
        assert claim in said(trained(tmp_path / str(seed), lambda n: n**power, seed, **options))


def test_the_correction_along_all_axes_is_that_of_simulated_volumes():
    rng = np.random.default_rng(0)
    for n, dim in ((4, 1), (6, 3), (12, 3)):
        rows = rng.standard_normal((4000, n, dim))
        centred = rows - rows.mean(axis=1, keepdims=True)
        log_det = np.linalg.slogdet(np.einsum("bni,bnj->bij", centred, centred) / (n - 1))[1]
        bias = float(log_volume_bias(torch.tensor([float(n)]), dim))
        assert bias == pytest.approx(-(log_det / (2 * dim)).mean(), abs=0.02)


def test_radii_along_the_first_axes_cannot_tell(tmp_path):
    assert "Unknown: along the first principal axes" in said(trained(tmp_path, lambda n: 2.0, variant="pv", axes=2))


class Uncounted(Weighting):
    """A user's own: the radius is the standard deviation over a class's logits; samples are not counted."""

    uses_logits = True

    def observe(self, logits, targets, smoothing=0.0):
        self.rows = logits.detach().double(), targets

    def radii(self):
        logits, targets = self.rows
        return torch.stack([logits[targets == label].std().log() for label in range(self.num_classes)])


def observed(criterion, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(int(COUNTS.sum()), C, generator=generator)
    criterion(rows, torch.repeat_interleave(torch.arange(C), torch.tensor(COUNTS)))


def kept_after_a_resume(folder):
    recorder = RunRecorder(folder, ReweightedLoss(ClassVolume(COUNTS)))
    observed(recorder.criterion)
    recorder.end_epoch()
    used = ReweightedLoss(ClassVolume(COUNTS))
    observed(used, 1)
    used.end_epoch()  # its samples are behind other radii
    recorder = RunRecorder(folder, used)
    recorder.resume(1)
    recorder.criterion.keep_radii()
    recorder.end_epoch()


def kept_from_another_weighting(folder):
    old, criterion = ClassVolume(COUNTS), ReweightedLoss(ClassVolume(COUNTS))
    for weighting, seed in ((old, 0), (criterion.weighting, 1)):
        observed(ReweightedLoss(weighting), seed)
        weighting.end_epoch()
    criterion.weighting.carry_over(old)
    criterion.keep_radii()
    RunRecorder(folder, criterion).end_epoch(1)


def without_counting_samples(folder):
    recorder = RunRecorder(folder, ReweightedLoss(Uncounted(COUNTS)))
    observed(recorder.criterion)
    recorder.end_epoch()


@pytest.mark.parametrize("way", [kept_after_a_resume, kept_from_another_weighting, without_counting_samples])
def test_radii_of_unknown_samples_are_shown_without_a_finding_on_volumes(tmp_path, way, capsys):
    way(tmp_path / "run")
    assert main(["inspect", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "Unknown: how many samples are behind these radii is not recorded" in printed
    assert "Largest and smallest radius" in printed
    assert "principal axes" not in printed
    pytest.importorskip("matplotlib")
    (found,) = inspect_run(tmp_path / "run")
    assert len(write_pictures(found, None, tmp_path / "out")) == 3
    assert math.isnan(found.size.corrected)
    assert math.isfinite(found.size.measured)


def test_the_samples_of_an_epoch_before_count_on_in_one_process(tmp_path):
    """As with a clean pass in every other epoch."""
    recorder = RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS)))
    observed(recorder.criterion)
    recorder.end_epoch()
    recorder.criterion.keep_radii()
    recorder.end_epoch()
    measured, kept = (inspect_run(tmp_path, epoch)[0] for epoch in (0, 1))
    assert kept.size == measured.size
    assert kept.samples_known


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_the_chance_level_of_few_pairs_is_that_of_all_orders(n):
    rhos = sorted(abs(rank_correlation(range(n), order)) for order in itertools.permutations(range(n)))
    level = next(rho for rho in rhos if sum(other <= rho + 1e-12 for other in rhos) >= 0.95 * len(rhos))
    assert chance_level(n) == pytest.approx(level)
    assert (level == 1) == (n <= 4)
    assert math.isnan(chance_level(2))


@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_three_or_four_classes_in_perfect_order_are_no_evidence(write, classes, slope):
    counts = np.array([900, 300, 100, 33])[:classes]
    log_radius = slope * np.log(counts)
    arrays = {"counts": counts, "draws": counts, "drawn": counts, "weights_single": 1.0 + 0 * counts}
    arrays |= {"log_radius_single": log_radius, "substituted_single": np.zeros(classes, bool)}
    arrays |= {"samples_single": counts, "bias_single": 0.0 * counts}
    (found,) = inspect_run(write({name: np.asarray(array, float) for name, array in arrays.items()}))
    assert "Unknown: only" in said(found)
    assert not any(claim in said(found) for claim in CLAIMS)


@pytest.mark.parametrize("make", [InverseFrequency, InverseSqrtFrequency, EffectiveNumber, Uniform])
@pytest.mark.parametrize("epochs", [1, 3])
def test_no_finding_on_volumes_without_measured_radii(tmp_path, make, epochs, capsys):
    recorder = RunRecorder(tmp_path / "run", ReweightedLoss(make(COUNTS)))
    for _ in range(epochs):
        recorder.end_epoch(overall=1.0)
    assert main(["inspect", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "Not measured here" in printed
    assert ("all weights are 1" in printed) == (make is Uniform)
    for word in ("as the paper says", "against the paper", "the radii", "The radii", "Largest and smallest radius"):
        assert word not in printed
    pytest.importorskip("matplotlib")
    (found,) = inspect_run(tmp_path / "run")
    names = [path.name for path in write_pictures(found, None, tmp_path / "out")]
    assert names == ["class_size.png", "epochs.png"]


@pytest.mark.parametrize(("slope", "answer"), [(-30.0, "harder? Yes"), (30.0, "easier"), (0.0, "beyond chance")])
def test_radius_against_accuracy_is_said_at_equal_class_size(tmp_path, slope, answer):
    """Accuracies follow class size, and radius once size is held fixed."""
    rng = np.random.default_rng(0)
    extra = dict(zip(COUNTS.tolist(), 0.3 * rng.standard_normal(C), strict=True))
    accuracy = 40 + 5 * np.log(COUNTS) + slope * np.array([extra[n] for n in COUNTS.tolist()])
    accuracy += (1 if slope else 30) * rng.standard_normal(C)
    table = "".join(f"{n},{a}\n" for n, a in zip(COUNTS, accuracy, strict=True))
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/per_class.csv").write_text(f"training_images,top1_single\n{table}")
    found = trained(tmp_path, lambda n: math.exp(extra[n]), debias=True)
    radius, size, right = (rankdata(values) for values in (found.radii, COUNTS, accuracy))
    rest = [values - np.polyval(np.polyfit(size, values, 1), size) for values in (radius, right)]
    assert found.accuracy is not None
    assert found.accuracy.at_equal_size == pytest.approx(np.corrcoef(*rest)[0, 1])
    (sentence,) = (text for text in findings(found, None) if answer in text and "harder" in text)
    assert sentence.endswith("accuracies from evaluation/per_class.csv.")


@pytest.mark.parametrize("classes", [5, 6, 7, 12])
def test_unrelated_radius_and_accuracy_are_rarely_called_related(classes):
    rng, found = np.random.default_rng(classes), 0
    for _ in range(1000):
        counts, radius, accuracy = rng.permutation(classes) + 10, rng.random(classes), rng.random(classes)
        own, zeros = np.ones(classes, bool), np.zeros(classes)
        relation = accuracy_relation(Radii(True, own, counts, radius, counts * 1.0, zeros, zeros), accuracy, "")
        found += relation is not None and relation.sign != 0
    assert found < 70  # 50 expected at most, standard error 7


def test_an_evaluation_of_another_run_is_not_taken(write):
    folder = write(*(epoch_arrays(np.random.default_rng(0)) for _ in range(3)))
    accuracy = np.random.default_rng(0).uniform(0, 100, len(RUN_COUNTS))
    (folder / "evaluation").mkdir()
    table = "".join(f"{n},{a}\n" for n, a in zip(RUN_COUNTS, accuracy, strict=True))
    (folder / "evaluation/per_class.csv").write_text(f"training_images,top1_single\n{table}")
    (folder.parent / "checkpoint.pth").write_bytes(b"another run's")
    (folder / "checkpoint.pth").write_bytes(b"its own")
    for owner, taken in ((folder, True), (folder.parent, False)):
        digest = hashlib.sha256((owner / "checkpoint.pth").read_bytes()).hexdigest()
        checkpoint = {"epoch": 2, "file": str(owner / "checkpoint.pth"), "sha256": digest}
        (folder / "evaluation/evaluation.json").write_text(json.dumps({"checkpoint": checkpoint}))
        assert (inspect_run(folder)[0].accuracy is not None) == taken
    checkpoint = {"epoch": 2, "file": str(folder / "checkpoint.pth"), "sha256": hashlib.sha256(b"its own").hexdigest()}
    (folder / "evaluation/evaluation.json").write_text(json.dumps({"checkpoint": checkpoint}))
    assert inspect_run(folder)[0].accuracy is not None
    (folder / "checkpoint.pth").write_bytes(b"trained anew")
    assert inspect_run(folder)[0].accuracy is None


def test_an_evaluation_of_another_epoch_names_both_epochs(write):
    accuracy = np.random.default_rng(0).uniform(0, 100, len(RUN_COUNTS))
    table = "".join(f"{n},{a}\n" for n, a in zip(RUN_COUNTS, accuracy, strict=True))
    folder = write(*(epoch_arrays(np.random.default_rng(0)) for _ in range(3))) / "evaluation"
    folder.mkdir()
    (folder / "per_class.csv").write_text(f"training_images,top1_single\n{table}")
    for epoch, both in ((1, ", of epoch 1 (the radii are of epoch 2)."), (2, "."), (None, ".")):
        (folder / "evaluation.json").write_text(json.dumps({"checkpoint": {"epoch": epoch}}))
        (sentence,) = (text for text in findings(inspect_run(folder.parent)[0], None) if "harder" in text)
        assert sentence.endswith(f"accuracies from evaluation/per_class.csv{both}")


@pytest.mark.parametrize("form", ["loss_weight", "logit_adjustment"])
def test_an_early_start_of_weights_is_noted_with_its_cost_in_the_benchmark(tmp_path, form, capsys):
    made = LogitAdjustedLoss if form == "logit_adjustment" else ReweightedLoss
    recorder = RunRecorder(tmp_path, made(InverseFrequency(COUNTS)))
    for _ in range(8):
        recorder.end_epoch(overall=1.0)
    assert main(["inspect", str(tmp_path)]) == 0
    said = (
        "This run has weights from epoch 0 on, of 8. With start_epoch at half of the epochs, overall accuracy was 1.9"
    )
    assert (said in capsys.readouterr().out) == (form == "loss_weight")


@pytest.mark.parametrize("text", ["", "class\n1\n", "training_images,top1_a\n5,x\n", "training_images,top1_a\n7,1\n"])
def test_an_evaluation_of_other_classes_or_a_damaged_one_is_ignored(tmp_path, text):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/per_class.csv").write_text(text)
    assert trained(tmp_path, lambda n: 2.0).accuracy is None
