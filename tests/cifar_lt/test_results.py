"""Lines of a results file: how they are read, and their measures against loops over the images."""

import json
import math

import pytest
import torch
from cifar_runs import run

from vlltr_plugin.cifar_lt.results import TAUS, ResultsError, adjusted_errors, append, calibration, class_errors, read

COUNTS = torch.tensor([500, 60, 5])
LOGITS = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) * 3
LABELS = torch.arange(40) % 3


TEXT = json.dumps(run("ce", 1, 31.0, group_errors={"many": 1.0}, curve=[[1, {"a": {}}]], dummy={"b": {}}))


@pytest.mark.parametrize("left", [*(TEXT[:-cut].encode() for cut in range(1, 40)), bytes(100)])
def test_lines_cut_by_a_kill_or_power_failure_are_skipped(tmp_path, left):
    path = tmp_path / "runs.jsonl"
    append(path, run("ce", 0, 30.0))
    with path.open("ab") as file:
        file.write(left)
    assert [line["seed"] for line in read(path)] == [0]
    append(path, run("ce", 2, 32.0))
    assert [line["seed"] for line in read(path)] == [0, 2]


@pytest.mark.parametrize("line", ['{"epoch": 3}', "[1]}", "{no json}", "my notes"])
def test_a_file_of_something_else_is_refused(tmp_path, line):
    path = tmp_path / "log.txt"
    path.write_text(f"{line}\n")
    with pytest.raises(ResultsError, match="line 1"):
        read(path)


def probabilities(image: int, tau: float) -> list[float]:
    """Softmax of an image's logits after adjustment, in Python floats."""
    shifted = [float(LOGITS[image, j]) - tau * math.log(int(COUNTS[j])) for j in range(3)]
    exponents = [math.exp(value - max(shifted)) for value in shifted]
    return [value / sum(exponents) for value in exponents]


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_nll_and_ece_are_those_of_a_loop(tau):
    found, likelihoods, bins = calibration(LOGITS - tau * COUNTS.log(), LABELS), [], [[] for _ in range(15)]
    for image, label in enumerate(LABELS.tolist()):
        p = probabilities(image, tau)
        likelihoods.append(math.log(p[label]))
        bins[int(max(p) * 15)].append(max(p) - (p.index(max(p)) == label))
    assert found["nll"] == pytest.approx(-sum(likelihoods) / 40, abs=1e-5)
    assert found["ece"] == pytest.approx(100 * sum(abs(sum(gaps)) for gaps in bins) / 40, abs=1e-3)


def test_adjusted_errors_are_those_of_each_half():
    rows = adjusted_errors(LOGITS, LABELS, COUNTS)
    assert [row[0] for row in rows] == list(TAUS)
    for tau, even, odd in rows:
        wrong = [(p := probabilities(i, tau)).index(max(p)) != int(LABELS[i]) for i in range(40)]
        assert even == pytest.approx(100 * sum(wrong[::2]) / 20)
        assert odd == pytest.approx(100 * sum(wrong[1::2]) / 20)


def test_errors_of_classes_and_groups_are_those_of_a_loop():
    found = class_errors(LOGITS, LABELS, COUNTS)
    wrong = [max(range(3), key=LOGITS[i].tolist().__getitem__) != int(LABELS[i]) for i in range(40)]
    each = [100 * sum(wrong[c::3]) / len(wrong[c::3]) for c in range(3)]
    assert found["class_errors"] == pytest.approx(each, abs=0.01)
    assert found["group_errors"] == pytest.approx(dict(zip(("many", "medium", "few"), each, strict=True)), abs=1e-4)
