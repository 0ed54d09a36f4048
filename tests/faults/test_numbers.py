"""Logits and class frequencies that are odd: sound weights, spoiled rows counted and left out."""

import math

import pytest
import torch
from faults.sound_weights import FREQUENCIES, SMOOTHING, VOLUMES, ended, made, soft
from hypothesis import given, settings
from hypothesis import strategies as st

from vlltr_plugin import ClassVolume, ReweightedLoss

quick = settings(max_examples=40, deadline=None)


@st.composite
def odd_epochs(draw):
    """Classes, and epochs of batches whose logits are anything: spoiled, huge, tiny, constant, of one class."""
    classes = draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    epochs = []
    for _ in range(2):
        scale = torch.tensor(
            draw(st.lists(st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e5, 1e36]), min_size=5, max_size=5))
        )
        seen = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes))
        dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.float64]))
        batches = []
        for _ in range(3):
            size = draw(st.sampled_from([1, 2, 9]))
            labels = torch.tensor(seen)[torch.randint(len(seen), (size,), generator=generator)]
            logits = torch.randn(size, classes, generator=generator) * scale[labels][:, None]
            if draw(st.booleans()):
                row, column = draw(st.integers(0, size - 1)), draw(st.integers(0, classes - 1))
                logits[row, column] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
            batches.append((logits.to(dtype), labels))
        epochs.append(batches)
    return classes, epochs


@settings(max_examples=100, deadline=None)
@given(
    odd_epochs(),
    st.sampled_from(VOLUMES),
    st.sampled_from(["dominant", "mass"]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_whatever_the_logits_weights_are_sound_and_spoiled_rows_are_counted_and_left_out(
    epochs, variant, assign, mixed, debias, data
):
    classes, epochs = epochs
    variant = "dv" if classes == 1 else variant
    counts = data.draw(st.lists(st.sampled_from([0, 1, 2, 40, 10**6]), min_size=classes, max_size=classes).filter(any))
    draws = [n and data.draw(st.floats(1e-3, 1e5)) for n in counts]
    options = {"assign": assign, "debias": debias and variant != "pv"}
    weighting, reference = (made(variant, counts, draws, **options) for _ in range(2))
    for batches in epochs:
        spoiled = 0
        for logits, labels in batches:
            targets = soft(labels, classes) if mixed else labels
            sound = logits.float().isfinite().all(dim=1)
            spoiled += int((~sound).sum())
            weighting.observe(logits, targets, SMOOTHING)
            reference.observe(logits[sound], targets[sound], SMOOTHING)
        torch.testing.assert_close(ended(weighting), ended(reference), rtol=1e-6, atol=0)
        assert weighting.skipped == spoiled


def test_a_class_a_hundred_digits_smaller_than_the_others_keeps_a_weight_that_a_state_may_hold():
    weighting = ClassVolume([4, 4])
    rows = (
        torch.randn(8, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e36, 1e-30]).repeat(4)[:, None]
    )
    weighting.observe(rows, torch.arange(8) % 2)
    assert float(ended(weighting)[1]) == torch.finfo(torch.float32).tiny


@quick
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(VOLUMES), st.booleans())
def test_batches_of_one_sample_give_the_weights_of_one_batch(seed, classes, variant, mixed):
    variant = "dv" if classes == 1 else variant
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8 * classes, classes, generator=generator)
    labels = torch.arange(8 * classes) % classes
    targets = soft(labels, classes) if mixed else labels
    whole, single = (ReweightedLoss(made(variant, [8] * classes), smoothing=SMOOTHING) for _ in range(2))
    whole(logits.requires_grad_(), targets)
    for i in range(len(labels)):
        loss = single(logits[i : i + 1], targets[i : i + 1])
        assert loss.shape == ()
    weights = ended(whole.weighting)
    torch.testing.assert_close(ended(single.weighting), weights, rtol=1e-5, atol=0)
    assert classes > 1 or weights.tolist() == [1.0]


@pytest.mark.parametrize("variant", VOLUMES)
def test_classes_that_vanish_for_an_epoch_take_the_mean_radius_and_come_back(variant):
    weighting = ClassVolume([40, 40, 40], draws=[9, 3, 1], variant=variant)
    generator = torch.Generator().manual_seed(0)
    substituted = []
    for present in ([0, 1, 2], [0, 1], [1], [0, 1, 2]):
        labels = torch.tensor(present).repeat(30)
        rows = torch.randn(len(labels), 3, generator=generator) * (1.0 + labels)[:, None]
        weighting.observe(rows, labels)
        ended(weighting)
        substituted.append(weighting.substituted.tolist())
        missing = [weighting.log_radius64[i] for i in range(3) if i not in present]
        mean = weighting.log_radius64[present].mean()
        assert all(radius == pytest.approx(float(mean)) for radius in missing)
    assert substituted == [[False] * 3, [False, False, True], [True, False, True], [False] * 3]


@quick
@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from(["softmax", "sigmoid", "focal"]), st.booleans())
def test_finite_logits_of_any_size_give_a_finite_loss_and_gradient(seed, classes, base, mixed):
    generator = torch.Generator().manual_seed(seed)
    exponent = torch.randint(-40, 36, (4, classes), generator=generator).double()
    logits = (torch.randn(4, classes, generator=generator).sign() * 10**exponent).float().requires_grad_()
    labels = torch.randint(classes, (4,), generator=generator)
    criterion = ReweightedLoss(made("inverse", [3**i for i in range(classes)]), base, SMOOTHING)
    loss = criterion(logits, soft(labels, classes) if mixed else labels)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("kind", [*VOLUMES, *FREQUENCIES])
def test_a_spoiled_row_shows_in_the_loss_and_in_no_weight(kind):
    criterion = ReweightedLoss(made(kind, [9, 6, 3]))
    logits, labels = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    logits[4, 1] = math.nan
    assert math.isnan(criterion(logits.requires_grad_(), labels).item())  # as the plain loss: the host stops there
    ended(criterion.weighting)
    assert kind not in VOLUMES or criterion.weighting.skipped == 1
