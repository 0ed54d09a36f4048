"""The state of a weighting: what it restores and refuses, and that averages, casts and other formats keep it."""

import copy
import math
from functools import partial

import pytest
import torch
from oracles import observed

from vlltr_plugin import ClassVolume, EffectiveNumber, InverseFrequency, InverseSqrtFrequency, ReweightedLoss

COUNTS = [50, 40, 30]
VOLUME = partial(ClassVolume, COUNTS)


@pytest.mark.parametrize(
    ("options", "other", "named"),
    [
        ({}, partial(VOLUME, variant="bv"), "variant: saved 'dv', here 'bv'"),
        ({}, partial(VOLUME, assign="mass"), "assign: saved 'dominant', here 'mass'"),
        ({}, partial(ClassVolume, [50, 40, 31]), "class_counts"),
        ({}, partial(ClassVolume, [50, 40]), "num_classes: saved 3, here 2"),
        ({}, partial(InverseFrequency, COUNTS), "type: saved 'ClassVolume', here 'InverseFrequency'"),
        ({}, partial(VOLUME, features=2), "features: saved None, here 2"),
        ({"features": 2, "feature_seed": 2}, VOLUME, "feature"),
        ({"features": 2, "feature_seed": 2}, partial(VOLUME, features=1, feature_seed=2), "features"),
        ({"features": 2, "feature_seed": 2}, partial(VOLUME, features=2), "feature_seed"),
        ({"draws": [5, 4, 3]}, partial(VOLUME, draws=[4, 4, 4]), "sampler"),
        ({"draws": [5, 4, 3]}, partial(VOLUME, draws=[5 * (1 + 1e-4), 4, 3]), "sampler"),
        ({"draws": [5, 4, 3]}, partial(VOLUME, draws=[5 * (1 + 1e-8), 4, 3]), None),
    ],
)
def test_state_of_other_settings_is_refused_and_nothing_changes(options, other, named):
    state, weighting = observed(VOLUME(**options)).state_dict(), other()
    if named is None:
        weighting.load_state_dict(state)
        return
    before = weighting.weights.clone()
    with pytest.raises(ValueError, match=named):
        weighting.load_state_dict(state)
    assert torch.equal(weighting.weights, before)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda s: s.pop("_extra_state"), "settings are missing"),
        (lambda s: s.update(_extra_state={"settings": 3}), "settings are missing"),
        (lambda s: s.update(_extra_state=torch.zeros(9)), "cannot be read"),
        (lambda s: s["_extra_state"].mul_(0.997), "cannot be read"),
        (lambda s: s["_extra_state"].fill_(math.nan), "cannot be read"),
        (lambda s: s.pop("progress"), "progress is .* missing"),
        (lambda s: s.pop("weights"), "weights is .* missing"),
        (lambda s: s.pop("draws"), "draws is .* missing"),
        (lambda s: s["progress"].neg_(), "epoch"),
        (lambda s: s["progress"].fill_(math.inf), "progress is finite"),
        (lambda s: s["weights"].fill_(math.nan), "weights is finite"),
        (lambda s: s["weights"].fill_(-3.0), "positive"),
        (lambda s: s.update(weights=torch.ones(2)), "weights"),
        (lambda s: s.update(weights=torch.ones(3, dtype=torch.int64)), "weights is floating point"),
        (lambda s: s.pop("log_radius64"), "log_radius64"),
        (lambda s: [s.pop(name) for name in list(s) if name != "weights"], "settings are missing"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_damaged_state_is_refused_and_nothing_changes(damage, named, strict):
    state = copy.deepcopy(dict(observed(VOLUME()).state_dict()))
    damage(state)
    weighting = VOLUME()
    with pytest.raises(ValueError, match=named):
        weighting.load_state_dict(state, strict=strict)
    assert torch.equal(weighting.weights, torch.ones(3))
    assert not weighting.active


@pytest.mark.parametrize("make", [InverseFrequency, InverseSqrtFrequency, EffectiveNumber])
@pytest.mark.parametrize("off", [[1e-4, 0, 0], [1e-8, 0, 0], [3, 3, 3]], ids=str)
def test_radii_that_follow_from_the_counts_are_refused_if_a_state_has_others_but_rounding_and_a_factor_are_not(
    make, off
):
    state, whole = make(COUNTS).state_dict(), make(COUNTS)
    state["log_radius64"] += torch.tensor(off).double()
    if off[0] == 1e-4:
        with pytest.raises(ValueError, match="radii"):
            whole.load_state_dict(state)
    else:
        whole.load_state_dict(state)
    torch.testing.assert_close(whole.weights, make(COUNTS).weights)


def test_loading_a_state_forgets_what_was_observed_before():
    state = observed(VOLUME()).state_dict()
    clean, spoiled = VOLUME(), VOLUME()
    spoiled.observe(1e4 * torch.randn(60, 3), torch.arange(60) % 3)
    for weighting in (clean, spoiled):
        weighting.load_state_dict(state)
        observed(weighting, 5)
    assert torch.equal(clean.weights, spoiled.weights)


@pytest.mark.parametrize("make", [ClassVolume, InverseFrequency])
@pytest.mark.parametrize("assign", [False, True])
def test_a_baseline_without_a_state_loads_with_strict_false(make, assign):
    def model():
        return torch.nn.ModuleDict({"layer": torch.nn.Linear(3, 3), "criterion": ReweightedLoss(make(COUNTS))})

    ours, fresh = model(), model()
    baseline = {k: v for k, v in model().state_dict().items() if not k.startswith("criterion")}
    wanted = {k for k in ours.state_dict() if k.startswith("criterion")}
    found = ours.load_state_dict(baseline, strict=False, assign=assign)
    assert (set(found.missing_keys), found.unexpected_keys) == (wanted, [])
    assert torch.equal(ours["layer"].weight, baseline["layer.weight"])
    weighting = ours["criterion"].weighting
    assert torch.equal(weighting.weights, fresh["criterion"].weighting.weights)
    if make is ClassVolume:
        assert (weighting.weights.tolist(), weighting.epoch, weighting.active) == ([1, 1, 1], 0, False)
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"criterion.weighting.weights"'):
        ours.load_state_dict(baseline)


def test_a_state_saved_under_data_parallel_loads_there_and_keys_that_are_no_part_of_it_are_reported():
    model, other = (torch.nn.DataParallel(ReweightedLoss(make)) for make in (observed(VOLUME()), VOLUME()))
    state = model.state_dict() | {"module.weighting.own": torch.ones(1)}
    found = other.load_state_dict(state, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == ([], ["module.weighting.own"])
    assert torch.equal(other.module.weighting.weights, model.module.weighting.weights)
    assert other.module.weighting.active
