"""Logit adjustment: class weights as margins in the loss, and tau log prior off the logits of a trained model."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from epochs import mixture, normal
from oracles import mean_loss, observed, weights_of
from torch import nn

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    InverseSqrtFrequency,
    LogitAdjustedLoss,
    LogitAdjustment,
    ReweightedLoss,
    Uniform,
    Weighting,
)
from vlltr_plugin.report.tradeoff import trade_off

COUNTS = [900, 200, 40, 9, 3]
DRAWS = [50.0, 30.0, 20.0, 10.0, 7.0]
ONES = [1.0] * 5
EVERY = [Uniform, InverseFrequency, InverseSqrtFrequency, EffectiveNumber, ClassVolume]


def batch_of(seed=0, size=20):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(size, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (size,), generator=generator)


def lowered(logits, log_alpha, tau=1.0):
    """z - tau log alpha, in numpy."""
    return torch.from_numpy(logits.detach().double().numpy() - tau * np.asarray(log_alpha))


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 3])
@pytest.mark.parametrize("weighting", [InverseFrequency, ClassVolume])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_equal_radii_it_is_logit_adjustment(weighting, tau, smoothing):
    """Menon et al. Eq. 10: z + tau log of the class prior; a volume has no radii in its first epoch."""
    logits, labels = batch_of()
    criterion = LogitAdjustedLoss(weighting(COUNTS, DRAWS, counts="dataset"), tau, smoothing)
    prior = [math.log(n / sum(COUNTS)) for n in COUNTS]
    expected = mean_loss("softmax", lowered(logits, prior, -tau), labels, ONES, smoothing)
    assert criterion(logits, labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighting", EVERY)
@pytest.mark.parametrize("counts", ["sampler", "dataset"])
def test_normalisation_and_with_it_the_mean_of_alpha_do_not_matter(weighting, counts):
    logits, labels = batch_of()
    found = []
    for normalize in ("expected", "dataset", "mean"):
        made = observed(weighting(COUNTS, draws=DRAWS, counts=counts, normalize=normalize))
        found.append(LogitAdjustedLoss(made)(logits, labels).item())
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("make", [ClassVolume, partial(EffectiveNumber, beta=0.99), InverseSqrtFrequency])
@pytest.mark.parametrize("counts", ["sampler", "dataset"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_radii_enter_with_start_epoch_and_until_then_count_as_equal(make, counts, smoothing, mixed):
    weighting = make(COUNTS, draws=DRAWS, counts=counts, start_epoch=2)
    criterion = LogitAdjustedLoss(weighting, 0.7, smoothing)
    logits, targets = batch_of()
    targets = mixture(targets, 5, smoothing, dtype=torch.float64) if mixed else targets
    for epoch in range(4):
        radii = weighting.log_radius64.tolist() if epoch >= 2 else [0.0] * 5
        alpha = weights_of(radii, COUNTS, DRAWS, divide_by="draws" if counts == "sampler" else "dataset")
        expected = mean_loss("softmax", lowered(logits, np.log(alpha), 0.7), targets, ONES, smoothing)
        assert criterion.losses(logits, targets).mean().item() == pytest.approx(expected, rel=1e-12)
        observed(weighting, seed=epoch)
    assert max(weighting.log_radius64.tolist()) - min(weighting.log_radius64.tolist()) > 0.1


@pytest.mark.parametrize("empty", ["no samples", "no draws"])
@pytest.mark.parametrize("normalize", ["expected", "dataset", "mean"])
@pytest.mark.filterwarnings("ignore:.*no samples")
def test_a_class_without_samples_counts_as_the_rarest(empty, normalize):
    counts = [900, 200, 0, 9, 3] if empty == "no samples" else COUNTS
    draws = counts if empty == "no samples" else [50, 30, 0, 10, 7]
    criterion = LogitAdjustedLoss(InverseFrequency(counts, draws, normalize=normalize), smoothing=0.1)
    as_if = [draws[4] if m == 0 else m for m in draws]
    logits, labels = batch_of()
    expected = mean_loss("softmax", lowered(logits, np.log(as_if), -1.0), labels, ONES, 0.1)
    assert criterion(logits, labels).item() == pytest.approx(expected, rel=1e-12)


def test_a_weighting_of_a_user_s_own_gives_its_alpha():
    class Cubic(Weighting):
        def radii(self):
            return None

        def weights_for(self, log_radius):
            return torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])

    logits, labels = batch_of()
    expected = mean_loss("softmax", lowered(logits, np.log([1, 2, 4, 8, 16])), labels, ONES)
    assert LogitAdjustedLoss(Cubic(COUNTS))(logits, labels).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("part", [lambda criterion: criterion, lambda criterion: criterion.weighting])
@pytest.mark.parametrize("saved", [ReweightedLoss, LogitAdjustedLoss])
def test_both_criteria_load_the_state_of_the_other(saved, part):
    first = saved(observed(ClassVolume(COUNTS)))
    second, back = LogitAdjustedLoss(ClassVolume(COUNTS)), ReweightedLoss(ClassVolume(COUNTS))
    logits, labels = batch_of()
    before = second.losses(logits, labels)
    part(second).load_state_dict(part(first).state_dict())
    expected = LogitAdjustedLoss(first.weighting).losses(logits, labels)
    assert torch.equal(second.losses(logits, labels), expected)
    assert not torch.equal(before, expected)
    part(back).load_state_dict(part(second).state_dict())
    assert torch.equal(back.weighting.weights, first.weighting.weights)


def test_copies_and_casts_keep_the_margins():
    criterion = LogitAdjustedLoss(observed(ClassVolume(COUNTS)))
    logits, labels = batch_of()
    expected = criterion.losses(logits, labels)
    assert torch.equal(copy.deepcopy(criterion).losses(logits, labels), expected)
    assert torch.equal(criterion.half().losses(logits, labels), expected)


PRIOR_COUNTS = [400, 0, 30, 3]
TAU = 0.75


def by_hand(logits: torch.Tensor) -> torch.Tensor:
    """`[N, C]`, one image and one class after the other, in Python's float64."""
    rarest = min(count for count in PRIOR_COUNTS if count > 0)
    prior = [math.log((count or rarest) / max(PRIOR_COUNTS)) for count in PRIOR_COUNTS]
    rows = [[float(z) - TAU * log for z, log in zip(row, prior, strict=True)] for row in logits.double()]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4,), (7, 4), (0, 4), (3, 4, 5), (2, 4, 3, 2)])
def test_the_logits_lose_tau_times_the_log_prior(shape, dtype):
    logits = (5 * normal(shape)).to(dtype)
    found = LogitAdjustment(PRIOR_COUNTS, TAU)(logits)
    assert (found.dtype, found.shape) == (logits.dtype, logits.shape)
    given, adjusted = (z.movedim(min(1, z.ndim - 1), -1).reshape(-1, 4) for z in (logits, found))
    near = max(torch.finfo(dtype).eps, 1e-7)  # the log prior is float32
    torch.testing.assert_close(adjusted.double(), by_hand(given), rtol=near, atol=5 * near)


@pytest.mark.parametrize("way", ["state dict", "whole", "copy", "half"])
def test_tau_and_prior_are_saved_and_loaded_with_the_model(way, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), LogitAdjustment(PRIOR_COUNTS, TAU)).eval()
    x = torch.randn(6, 5)
    if way == "state dict":
        torch.save(model.state_dict(), tmp_path / "model.pt")
        other = nn.Sequential(nn.Linear(5, 4), LogitAdjustment([1, 1, 1, 1])).eval()
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    elif way == "whole":
        torch.save(model, tmp_path / "model.pt")
        other = torch.load(tmp_path / "model.pt", weights_only=False)
    else:
        other = copy.deepcopy(model)
    if way == "half":
        other = other.half().float()
    assert torch.allclose(other(x), model(x), atol=5e-3 if way == "half" else 0.0, rtol=0)
    assert not torch.allclose(other(x), model[0](x), atol=0.1)
    assert list(model.parameters()) == list(model[0].parameters())


def test_it_exports_and_compiles_in_one_graph():
    adjustment, logits = LogitAdjustment(PRIOR_COUNTS, TAU), torch.randn(5, 4)
    compiled = torch.compile(adjustment, fullgraph=True, backend="eager")
    assert torch.equal(compiled(logits), adjustment(logits))
    assert torch.equal(torch.export.export(adjustment, (logits,)).module()(logits), adjustment(logits))


def test_the_unit_of_the_counts_and_torchs_defaults_do_not_matter():
    logits = torch.randn(5, 4)
    expected = LogitAdjustment(PRIOR_COUNTS, TAU)(logits)
    torch.testing.assert_close(LogitAdjustment(np.array(PRIOR_COUNTS) * 1e-9, TAU)(logits), expected)
    with torch.inference_mode():
        made = LogitAdjustment(torch.tensor(PRIOR_COUNTS), np.float32(TAU))
    assert torch.equal(made(logits.requires_grad_()), expected)
    made.load_state_dict(made.state_dict())  # refused for tensors that were made in inference mode
    assert torch.equal(LogitAdjustment(PRIOR_COUNTS, 0.0)(logits), logits)


@pytest.mark.parametrize("logits", [torch.zeros(4, 3), torch.zeros(2, 5, 4), torch.zeros(()), torch.zeros(2, 4).long()])
def test_logits_of_other_classes_are_refused(logits):
    with pytest.raises(ValueError, match=r"floating point logits of shape \[B, 4\]"):
        LogitAdjustment(PRIOR_COUNTS)(logits)


def test_at_tau_1_with_equal_radii_it_is_balanced_softmax():
    """Ren et al. Eq. 3: n_y exp(z_y) / sum_j n_j exp(z_j)."""
    logits, labels = batch_of()
    total = 0.0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        total -= math.log(COUNTS[y] * math.exp(z[y]) / sum(n * math.exp(x) for n, x in zip(COUNTS, z, strict=True)))
    found = LogitAdjustedLoss(InverseFrequency(COUNTS, DRAWS, counts="dataset"))(logits, labels)
    assert found.item() == pytest.approx(total / len(labels), rel=1e-12)


def test_its_accuracy_is_that_of_evaluate_at_the_same_tau():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 4, generator=generator) + torch.tensor([4.0, 2.0, 2.0, 0.0])
    labels = torch.randint(4, (300,), generator=generator)
    curve = trade_off(logits, labels, PRIOR_COUNTS, taus=[0.0, TAU])
    for tau, row in zip(curve.taus, curve.rows, strict=True):
        right = (LogitAdjustment(PRIOR_COUNTS, tau)(logits).argmax(1) == labels).sum().item()
        assert 100 * right / 300 == pytest.approx(row["top1"])
    assert curve.rows[0]["top1"] != curve.rows[1]["top1"]
