"""Class weights as margins: what the adjusted loss equals, what it does not depend on, when radii enter."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import mean_loss, observed, weights_of

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    InverseSqrtFrequency,
    LogitAdjustedLoss,
    ReweightedLoss,
    Uniform,
    Weighting,
)

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


def test_at_tau_1_with_equal_radii_it_is_balanced_softmax():
    """Ren et al. Eq. 3: n_y exp(z_y) / sum_j n_j exp(z_j)."""
    logits, labels = batch_of()
    total = 0.0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        total -= math.log(COUNTS[y] * math.exp(z[y]) / sum(n * math.exp(x) for n, x in zip(COUNTS, z, strict=True)))
    found = LogitAdjustedLoss(InverseFrequency(COUNTS, DRAWS, counts="dataset"))(logits, labels)
    assert found.item() == pytest.approx(total / len(labels), rel=1e-12)


@pytest.mark.parametrize("weighting", EVERY)
def test_tau_0_is_plain_cross_entropy(weighting):
    logits, labels = batch_of()
    found = LogitAdjustedLoss(weighting(COUNTS), tau=0.0)(logits, labels)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels), rtol=1e-12, atol=0)


def test_no_weighting_is_plain_cross_entropy_at_any_tau():
    logits, labels = batch_of()
    found = LogitAdjustedLoss(Uniform(COUNTS, DRAWS), tau=2.0)(logits, labels)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels), rtol=1e-12, atol=0)


@pytest.mark.parametrize("weighting", EVERY)
@pytest.mark.parametrize("counts", ["sampler", "dataset"])
def test_normalisation_and_with_it_the_mean_of_alpha_do_not_matter(weighting, counts):
    logits, labels = batch_of()
    found = []
    for normalize in ("expected", "dataset", "mean"):
        made = weighting(COUNTS, draws=DRAWS, counts=counts, normalize=normalize)
        criterion = LogitAdjustedLoss(observed(made))
        found.append(criterion(logits, labels).item())
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("counts", ["sampler", "dataset"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_radii_enter_with_start_epoch_and_until_then_count_as_equal(counts, smoothing, mixed):
    weighting = ClassVolume(COUNTS, DRAWS, counts=counts, start_epoch=2)
    criterion = LogitAdjustedLoss(weighting, 0.7, smoothing)
    logits, targets = batch_of()
    if mixed:
        hard = F.one_hot(targets, 5).double()
        targets = (1 - smoothing) * (0.6 * hard + 0.4 * hard.flip(0)) + smoothing / 5
    for epoch in range(4):
        radii = weighting.log_radius64.tolist() if epoch >= 2 else [0.0] * 5
        alpha = weights_of(radii, COUNTS, DRAWS, divide_by="draws" if counts == "sampler" else "dataset")
        expected = mean_loss("softmax", lowered(logits, np.log(alpha), 0.7), targets, ONES, smoothing)
        assert criterion.losses(logits, targets).mean().item() == pytest.approx(expected, rel=1e-12)
        observed(weighting, seed=epoch)
    assert max(weighting.log_radius64.tolist()) - min(weighting.log_radius64.tolist()) > 0.5


@pytest.mark.parametrize("weighting", [EffectiveNumber, InverseSqrtFrequency])
def test_radii_known_from_the_start_wait_for_start_epoch_too(weighting):
    logits, labels = batch_of()
    late, now, inverse = (
        LogitAdjustedLoss(made)
        for made in (weighting(COUNTS, start_epoch=1), weighting(COUNTS), InverseFrequency(COUNTS))
    )
    assert late(logits, labels) == inverse(logits, labels) != now(logits, labels)
    late.end_epoch()
    assert late(logits, labels) == now(logits, labels)


def test_statistics_are_those_of_the_unadjusted_logits():
    adjusted, plain = LogitAdjustedLoss(ClassVolume(COUNTS), tau=2.0), ReweightedLoss(ClassVolume(COUNTS))
    for epoch in range(2):
        for step in range(3):
            logits, labels = batch_of(seed=3 * epoch + step, size=60)
            for criterion in (adjusted, plain):
                criterion(logits.clone().requires_grad_(), labels)
        for criterion in (adjusted, plain):
            criterion.end_epoch()
        assert torch.equal(adjusted.weighting.log_radius64, plain.weighting.log_radius64)
    assert not torch.equal(adjusted.weighting.log_radius64, torch.zeros(5).double())


def test_observes_while_training_only():
    criterion = LogitAdjustedLoss(ClassVolume(COUNTS))
    logits, labels = batch_of()
    with torch.no_grad():
        criterion(logits, labels)
    criterion.eval()(logits, labels)
    criterion.losses(logits, labels)
    assert criterion.weighting._moments is None
    criterion.train()(logits, labels)
    assert criterion.weighting._moments.mass.sum() == len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_softmax_of_the_lowered_logits_minus_the_target(smoothing):
    logits, labels = batch_of()
    logits.requires_grad_()
    criterion = LogitAdjustedLoss(observed(ClassVolume(COUNTS)), smoothing=smoothing)
    criterion(logits, labels).backward()
    target = (1 - smoothing) * F.one_hot(labels, 5) + smoothing / 5
    expected = (lowered(logits, criterion.weighting.margins.numpy()).softmax(dim=1) - target) / len(labels)
    torch.testing.assert_close(logits.grad, expected)
    assert [name for name, _ in criterion.named_parameters()] == []
    assert not criterion.weighting.margins.requires_grad


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


@pytest.mark.parametrize("tau", [-0.1, math.nan, math.inf, -math.inf, "1", None, True, [1.0]], ids=repr)
def test_a_tau_that_is_no_number_of_at_least_0_is_refused(tau):
    with pytest.raises(ValueError, match="tau"):
        LogitAdjustedLoss(Uniform(COUNTS), tau=tau)


@pytest.mark.parametrize("whole", [True, False], ids=["criterion", "weighting"])
@pytest.mark.parametrize("saved", [ReweightedLoss, LogitAdjustedLoss])
def test_a_state_of_either_form_goes_on_with_its_radii(saved, whole):
    first = saved(observed(ClassVolume(COUNTS)))
    second = LogitAdjustedLoss(ClassVolume(COUNTS))
    logits, labels = batch_of()
    before = second.losses(logits, labels)
    if whole:
        second.load_state_dict(first.state_dict())
    else:
        second.weighting.load_state_dict(first.weighting.state_dict())
    expected = LogitAdjustedLoss(first.weighting).losses(logits, labels)
    assert torch.equal(second.losses(logits, labels), expected)
    assert not torch.equal(before, expected)
    back = ReweightedLoss(ClassVolume(COUNTS))
    back.load_state_dict(second.state_dict())
    assert torch.equal(back.weighting.weights, first.weighting.weights)


def test_copies_and_casts_keep_the_margins():
    criterion = LogitAdjustedLoss(observed(ClassVolume(COUNTS)))
    logits, labels = batch_of()
    expected = criterion.losses(logits, labels)
    assert torch.equal(copy.deepcopy(criterion).losses(logits, labels), expected)
    assert torch.equal(criterion.half().losses(logits, labels), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = criterion(logits.bfloat16(), labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, criterion(logits.bfloat16().float(), labels))
