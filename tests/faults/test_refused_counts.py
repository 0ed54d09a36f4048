"""Counts, draws, sampler weights, radii and options that are none: an error that says so, before anything starts."""

import math

import pytest
import torch
from faults.sound_weights import FREQUENCIES, VOLUMES, ended, made
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import SequentialSampler, WeightedRandomSampler

from vlltr_plugin import ClassVolume, FocalLosses, LogitAdjustedLoss, ReweightedLoss, Weighting, build_weighting
from vlltr_plugin.core.frequency import FrequencyWeighting
from vlltr_plugin.training.draws import class_counts_of, expected_draws

quick = settings(max_examples=40, deadline=None)


@quick
@given(
    st.sampled_from([*VOLUMES, *FREQUENCIES]),
    st.lists(st.integers(1, 100), min_size=2, max_size=6),
    st.sampled_from([-1, 0.5, math.nan, math.inf, -math.inf]),
    st.integers(0, 5),
)
def test_counts_and_draws_that_are_none_are_refused(kind, counts, bad, position):
    spoiled = [bad if i == position % len(counts) else n for i, n in enumerate(counts)]
    with pytest.raises(ValueError, match=r"Expected class_counts to be (finite|whole)"):
        made(kind, spoiled)
    for draws in (spoiled, [1.0], [1.0] * (len(counts) + 1), [[1.0] * len(counts)], [0.0] * len(counts)):
        if draws is not spoiled or bad != 0.5:
            with pytest.raises(ValueError, match=r"Expected (draws|a class)"):
                made(kind, counts, draws)


@pytest.mark.parametrize("kind", [*VOLUMES, *FREQUENCIES])
def test_counts_of_0_keep_weight_1_and_are_named_and_floats_that_are_whole_count(kind):
    build = ClassVolume if kind in VOLUMES else build_weighting
    arguments = {"variant": kind} if kind in VOLUMES else {}
    with pytest.warns(UserWarning, match=r"1 of 3 classes have no samples \(1\)"):
        weighting = build(*([] if kind in VOLUMES else [kind]), [9, 0, 3], **arguments)
    ended(weighting)
    assert weighting.weights[1] == 1
    assert torch.equal(ended(made(kind, [9.0, 0.0, 3.0])), weighting.weights)
    with pytest.raises(ValueError, match="every count"):
        made(kind, [0, 0, 0])


weight_of_an_image = st.sampled_from([0.0, 5e-324, 1e-300, 1e-3, 1.0, 7.0, 1e300])


@quick
@given(st.lists(st.tuples(st.integers(0, 3), weight_of_an_image), min_size=1, max_size=12), st.data())
def test_sampler_weights_fit_the_data_set_or_are_refused(images, data):
    targets, weights = [label for label, _ in images], [weight for _, weight in images]
    sampler = WeightedRandomSampler([1.0] * len(targets), len(targets))
    sampler.weights = torch.tensor(weights, dtype=torch.float64)
    if not any(weights):
        with pytest.raises(ValueError, match="not all 0"):
            expected_draws(sampler, targets, 4)
        return
    draws = expected_draws(sampler, targets, 4)
    assert float(draws.sum()) == pytest.approx(len(targets))
    counts = class_counts_of(targets, 4)
    if bool(((draws > 0) & (draws < 1e-12 * draws.sum())).any()):
        with pytest.raises(ValueError, match="draws of 0 or at least"):
            made("inverse", counts, draws)
    else:
        ended(made("inverse", counts, draws))
    bad = data.draw(st.sampled_from([math.nan, math.inf, -1.0]))
    bad_first = torch.cat([torch.tensor([bad]).double(), sampler.weights[1:]])
    for spoiled in (bad_first, sampler.weights[1:], sampler.weights[:, None], torch.zeros(len(targets))):
        sampler.weights = spoiled
        with pytest.raises(ValueError, match=r"Expected (finite sampler|the sampler to hold)"):
            expected_draws(sampler, targets, 4)


def test_sampler_weights_at_the_ends_of_the_number_range():
    sampler = WeightedRandomSampler([1.0] * 3, 3)
    sampler.weights = torch.full((3,), 5e-324, dtype=torch.float64)
    assert expected_draws(sampler, [0, 1, 1], 2).tolist() == [1, 2]
    sampler.weights = torch.full((3,), 1e308, dtype=torch.float64)
    with pytest.raises(ValueError, match="finite sampler weights"):
        expected_draws(sampler, [0, 1, 1], 2)


@pytest.mark.parametrize("targets", [[0, 4], [0, -1], [0, 0.5], [0, math.nan], [0, math.inf], [], [[0], [1]]], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_targets_of_a_data_set_that_are_no_labels_are_refused(targets, weighted):
    sampler = SequentialSampler([0, 1])
    if weighted:
        sampler = WeightedRandomSampler([1.0, 1.0], 2)
    for call in (lambda: class_counts_of(targets, 4), lambda: expected_draws(sampler, targets, 4)):
        with pytest.raises(ValueError, match=r"Expected .*(targets|training set)"):
            call()


@pytest.mark.parametrize("radii", [torch.zeros(1), torch.zeros(()), torch.tensor([0.0, math.nan, 1.0])], ids=str)
def test_radii_of_a_users_weighting_never_broadcast_and_are_finite(radii):
    class Own(Weighting):
        def radii(self):
            return radii

    class Known(FrequencyWeighting):
        def log_shape(self, counts):
            return radii.double()

    own = Own([3, 2, 1])
    with pytest.raises(ValueError, match="log radii"):
        own.end_epoch()
    assert own.weights.tolist() == [1, 1, 1]
    assert (own.epoch, own.has_radii) == (0, False)
    if radii.isnan().any():  # what `log_shape` gives is laid over the classes with samples
        with pytest.raises(ValueError, match="finite log radii"):
            Known([3, 2, 1])


@pytest.mark.parametrize("gamma", [math.nan, math.inf, -1.0])
def test_a_focusing_parameter_that_would_make_the_loss_nan_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        FocalLosses(gamma)


@pytest.mark.parametrize("smoothing", [math.nan, -0.1, 1.0])
def test_a_smoothing_that_is_none_is_refused(smoothing):
    with pytest.raises(ValueError, match="smoothing"):
        ReweightedLoss(made("none", [1, 1]), smoothing=smoothing)


@pytest.mark.parametrize("kind", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("given", [[3, 1], torch.tensor([3, 1]), "class_volume", None, ClassVolume])
def test_what_is_no_weighting_is_refused(kind, given):
    with pytest.raises(TypeError, match=r"weighting to be a Weighting, such as ClassVolume\(class_counts\)"):
        kind(given)
