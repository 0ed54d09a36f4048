"""Normalisation, the schedule over epochs, radii of an earlier weighting, and the other weightings."""

import math

import numpy as np
import pytest
import torch
from epochs import mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import observed, weights_of

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    FocalLosses,
    InverseFrequency,
    InverseSqrtFrequency,
    LogitAdjustedLoss,
    LogitAdjustment,
    ReweightedLoss,
    Uniform,
    Weighting,
    build_weighting,
    register_weighting,
)
from vlltr_plugin.core.epoch_statistics import expected_alpha
from vlltr_plugin.core.registry import WEIGHTINGS
from vlltr_plugin.core.weighting import class_weights


@settings(max_examples=60, deadline=None)
@given(data=st.data(), normalize=st.sampled_from(["expected", "dataset", "mean"]), by_draws=st.booleans())
def test_normalisation_equals_the_loop_and_its_mean_is_1(data, normalize, by_draws):
    counts = data.draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=12).filter(any))
    draws = [n and data.draw(st.floats(0.5, 1e4)) for n in counts]
    log_radius = data.draw(st.lists(st.floats(-30, 30), min_size=len(counts), max_size=len(counts)))
    n, m = torch.tensor(counts).double(), torch.tensor(draws).double()
    divisor = m if by_draws else n
    found = class_weights(torch.tensor(log_radius), divisor, n, m, normalize)
    expected = weights_of(
        log_radius, counts, draws, "draws" if by_draws else "counts", normalize, min_samples=0, mass=draws
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    share = {"expected": m, "dataset": n, "mean": (n > 0).double()}[normalize]
    assert float((share * found.float()).sum() / share.sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_expected_alpha_of_class_volume_is_1_under_the_draws(seed):
    counts = torch.tensor([5000, 900, 70, 6, 0, 2])
    with pytest.warns(UserWarning, match=r"1 of 6 classes have no samples \(4\)"):
        weighting = ClassVolume(counts, draws=counts.sqrt() * 3.7)
    with pytest.warns(UserWarning, match="Got samples of classes with class_counts 0"):
        observed(weighting, seed)
    assert expected_alpha(weighting.weights, weighting.draws) == pytest.approx(1, abs=1e-6)
    assert weighting.weights[4] == 1
    assert len(weighting.weights.unique()) == 6


def test_the_three_readings_of_eq_16_agree_for_a_uniform_sampler_only():
    """The three readings of DESIGN 2.1, with equal radii."""
    counts = torch.tensor([1280.0, 100.0, 5.0])
    for draws, agree in ((counts, True), (counts.sqrt(), False)):
        readings = [
            InverseFrequency(counts, draws, counts="sampler"),
            InverseFrequency(counts, draws, counts="dataset"),
            InverseFrequency(counts, draws, counts="dataset", normalize="dataset"),
        ]
        alphas = [expected_alpha(w.weights, w.draws) for w in readings]
        assert alphas[0] == pytest.approx(1, abs=1e-6)
        assert alphas[1] == pytest.approx(1, abs=1e-6)
        assert (alphas[2] == pytest.approx(1, abs=1e-6)) is agree
        assert torch.allclose(readings[0].weights, readings[2].weights) is agree


@pytest.mark.parametrize("make", [ClassVolume, InverseFrequency])
def test_weights_stay_1_until_statistics_and_start_epoch(make):
    weighting = make([50, 40, 30], start_epoch=3)
    for epoch in range(5):
        assert weighting.active is (epoch >= 3)
        assert bool((weighting.weights == 1).all()) is (epoch < 3)
        observed(weighting)
    early = ClassVolume([50, 40, 30], start_epoch=0)
    assert not early.active
    observed(early)
    assert early.active


def test_end_epoch_takes_the_hosts_epoch():
    weighting = ClassVolume([50, 40, 30], start_epoch=10)
    weighting.observe(torch.randn(60, 3), torch.arange(60) % 3)
    weighting.end_epoch(9)
    assert (weighting.active, weighting.epoch) == (True, 10)


def test_an_epoch_without_statistics_leaves_the_weights():
    weighting = observed(ClassVolume([50, 40, 30]))
    before = weighting.weights.clone()
    with pytest.warns(UserWarning, match="end_epoch called twice.*the weights stay as they are"):
        weighting.end_epoch()
    torch.testing.assert_close(weighting.weights, before, rtol=0, atol=0)


@pytest.mark.parametrize("draws", [None, [700.0, 310.0, 100.0]])
def test_frequency_weightings_have_their_textbook_shapes_over_the_draws(draws):
    counts = torch.tensor([1000.0, 100.0, 10.0])
    n = counts if draws is None else torch.tensor(draws)
    for weighting, raw in (
        (Uniform(counts, draws), torch.ones(3)),
        (InverseFrequency(counts, draws), 1 / n),
        (InverseSqrtFrequency(counts, draws), n.rsqrt()),
        (EffectiveNumber(counts, 0.99, draws), (1 - 0.99) / (1 - 0.99**n)),
    ):
        expected = raw * n.sum() / (n * raw).sum()
        torch.testing.assert_close(weighting.weights, expected, rtol=1e-5, atol=0)
        assert weighting.active is not isinstance(weighting, Uniform)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
def test_autocast_computes_the_loss_in_float32(made, dtype, soft):
    layer, rows, labels = torch.nn.Linear(8, 3), torch.randn(32, 8), torch.arange(32) % 3
    targets = mixture(labels, 3) if soft else labels
    criterion = made(observed(ClassVolume([50, 40, 30])), smoothing=0.1)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(rows)
        loss = criterion(logits, targets)
    assert logits.dtype == dtype
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, criterion(logits.float(), targets), rtol=1e-6, atol=0)
    loss.backward()
    assert layer.weight.grad.isfinite().all()


def test_a_class_that_is_never_drawn_keeps_weight_1_and_stays_out():
    weighting = InverseFrequency([50, 20, 30], draws=[50, 0, 30], counts="dataset")
    assert weighting.weights[1] == 1
    assert expected_alpha(weighting.weights, weighting.draws) == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_weights_follow_the_logits_to_their_device():
    weighting = ClassVolume(torch.tensor([50, 40, 30]))
    ReweightedLoss(weighting)(torch.randn(60, 3, device="cuda", requires_grad=True), torch.arange(60).cuda() % 3)
    weighting.end_epoch()
    assert weighting.weights.device.type == "cuda"


WRONG = {
    # a call: settings of which each is refused, and what is said
    (lambda n: ClassVolume(n)): [
        ([3, -1], "not negative"),
        ([3, math.inf], "not negative"),
        ([0, 0], "every count.*after the training set, from torch.bincount"),
        ([1.5, 2], "whole numbers"),
        ([3, math.nan], "finite"),
        ([10**400, 1], "finite"),
        (None, "class_counts to be a tensor.*NoneType None"),
    ],
    (lambda m: ClassVolume([3, 1], draws=m)): [
        ([1], "draws for 2 classes but got 1"),
        ([3, 1e-40], "draws of 0 or at least"),
        ([2, 5e-324], "draws of 0 or at least"),  # scaled to one epoch, it would be 0
        ([0, 0], "every count"),
    ],
    (lambda options: ClassVolume([9] * 8, **options)): [
        ({"variant": "xv"}, "'dv', 'bv', 'pv' but got 'xv'"),
        ({"axes": 2}, "variant='pv' only"),
        ({"variant": "pv", "axes": 9}, r"1 to 8.*variant='pv' only"),
        ({"variant": "pv", "axes": 1.5}, "axes"),
        ({"variant": "pv", "debias": True}, "debias with"),
        ({"min_samples": 1}, "min_samples"),
        ({"min_samples": 30.9}, "min_samples"),
        ({"start_epoch": "3"}, "start_epoch"),
        ({"start_epoch": -1}, "start_epoch"),
        ({"debias": "no"}, "debias"),
        ({"assign": "both"}, "assign"),
        ({"counts": "draws"}, "counts"),
        ({"normalize": "sum"}, "normalize"),
        ({"features": 9}, "at most the 8 classes but got 9"),
        ({"features": 0}, "features to be a whole number, 1 or more"),
        ({"features": 3.0}, "features to be a whole number"),
        ({"features": True}, "features to be a whole number"),
        ({"features": 1, "variant": "bv"}, "features to be a whole number, 2 or more"),
        ({"features": 3, "variant": "pv"}, "features with variant 'dv' or 'bv' only"),
        ({"features": 3, "feature_seed": -1}, "feature_seed"),
        ({"features": 3, "feature_seed": "x"}, "feature_seed"),
    ],
    (lambda beta: EffectiveNumber([3, 1], beta)): [(beta, "beta to") for beta in (0.0, 1.0, "0.9", None, True, [0.9])],
    (lambda value: ReweightedLoss(Uniform([3, 1]), smoothing=value)): [(1.0, "smoothing"), (-0.1, "smoothing")],
    (lambda value: ReweightedLoss(Uniform([3, 1]), reduction=value)): [("batchmean", "Expected reduction")],
    (lambda value: ReweightedLoss(Uniform([3, 1]), base=value)): [("hinge", "'softmax', 'sigmoid', 'focal'")],
    (lambda value: FocalLosses(value)): [(-1.0, "gamma"), (math.inf, "gamma")],
    (lambda value: ReweightedLoss(Uniform([3, 1]), ignore_index=value)): [
        (value, "ignore_index") for value in (1.0, "255", True, [255])
    ],
    (lambda tau: LogitAdjustedLoss(Uniform([3, 1]), tau)): [
        (tau, "tau") for tau in (-0.1, math.nan, math.inf, -math.inf, "1", None, True, [1.0])
    ],
    (lambda tau: LogitAdjustment([3, 1], tau)): [
        (math.nan, "tau to be a finite number but got nan"),
        (True, "tau to be a number"),
        ("1", "tau to be a number"),
    ],
    (lambda n: LogitAdjustment(n)): [
        ([0, 0, 0, 0], "all are 0"),
        ([4, -1], "finite and not negative"),
        ([4, math.inf], "finite and not negative"),
        ({0: 4}, "for a dict or Counter, pass"),
    ],
    (lambda name: build_weighting(name, [3, 1])): [("class_volum", "did you mean 'class_volume'"), ("x", "choose one")],
    (lambda option: build_weighting("class_volume", [3, 1], **option)): [({"min_sample": 3}, "mean 'min_samples'")],
    (lambda option: build_weighting("effective_number", [3, 1], **option)): [
        ({"normalise": "mean"}, "did you mean 'normalize'"),
    ],
}


@pytest.mark.parametrize(("make", "value", "said"), [(make, *row) for make, rows in WRONG.items() for row in rows])
def test_wrong_settings_are_refused_with_what_was_expected(make, value, said):
    with pytest.raises(ValueError, match=said):
        make(value)


def test_users_weightings_join_the_registry(monkeypatch):
    monkeypatch.setattr("vlltr_plugin.core.registry.WEIGHTINGS", dict(WEIGHTINGS))

    @register_weighting("ones")
    class Ones(Weighting):
        def radii(self):
            return None

    assert isinstance(build_weighting("ones", [2, 1], start_epoch=4), Ones)
    assert "num_classes=2, counts='sampler', normalize='expected', start_epoch=4" in repr(Ones([2, 1], start_epoch=4))
    with pytest.raises(ValueError, match="exists: Ones"):
        register_weighting("ones")(Ones)


@pytest.mark.parametrize("classes", [None, [4, 0, 2]])
@pytest.mark.parametrize("substituted", [False, True])
def test_known_classes_keep_their_radii_and_the_others_take_their_mean(classes, substituted):
    old = observed(ClassVolume([50, 40, 30]))
    old.substituted = torch.tensor([False, False, substituted])
    counts = [90, 70, 50, 30, 10]
    new = ClassVolume(counts, start_epoch=0)
    new.carry_over(old, classes)
    places = classes or [0, 1, 2]
    known = {place: float(old.log_radius64[i]) for i, place in enumerate(places) if not old.substituted[i]}
    mean = sum(known.values()) / len(known)
    radius = [math.exp(known.get(i, mean)) for i in range(5)]
    alpha = [r / n * sum(counts) / sum(radius) for r, n in zip(radius, counts, strict=True)]
    torch.testing.assert_close(new.weights.double(), torch.tensor(alpha).double(), rtol=1e-5, atol=0)
    assert new.substituted.tolist() == [i not in known for i in range(5)]


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 1], [0, 1, 5], [-1, 0, 1]], ids=str)
def test_classes_that_do_not_fit_are_refused(classes):
    new = ClassVolume([9] * 5)
    with pytest.raises(ValueError, match=r"Expected one class of 0\.\.4 for each of 3"):
        new.carry_over(observed(ClassVolume([50, 40, 30])), classes)
    assert not new.has_radii


@pytest.mark.parametrize("make", [ClassVolume, InverseFrequency])
def test_a_weighting_without_measured_radii_is_refused(make):
    with pytest.raises(ValueError, match="Expected radii to carry over"):
        ClassVolume([9] * 5).carry_over(make([50, 40, 30]))
