"""The state of a weighting: what it restores and refuses, and that averages, casts and other formats keep it."""

import contextlib
import copy
import math

import pytest
import torch
from oracles import observed

from vlltr_plugin import ClassVolume, InverseFrequency, InverseSqrtFrequency, ReweightedLoss


def test_state_holds_no_moments():
    weighting = ClassVolume([50] * 100)
    weighting.observe(torch.randn(64, 100), torch.randint(100, (64,)))
    sizes = {name: v.numel() for name, v in weighting.state_dict().items()}
    assert sizes.pop("_extra_state") < 10 * 100  # the settings, class counts among them
    assert max(sizes.values()) == 100


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: ClassVolume([50, 40, 30], variant="bv"), "variant: saved 'dv', here 'bv'"),
        (lambda: ClassVolume([50, 40, 30], assign="mass"), "assign: saved 'dominant', here 'mass'"),
        (lambda: ClassVolume([50, 40, 31]), "class_counts"),
        (lambda: ClassVolume([50, 40]), "num_classes: saved 3, here 2"),
        (lambda: InverseFrequency([50, 40, 30]), "type: saved 'ClassVolume', here 'InverseFrequency'"),
    ],
)
def test_state_of_other_settings_is_refused_and_nothing_changes(other, named):
    state = observed(ClassVolume([50, 40, 30])).state_dict()
    weighting = other()
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
def test_a_damaged_state_is_refused_and_nothing_changes(damage, named):
    state = copy.deepcopy(dict(observed(ClassVolume([50, 40, 30])).state_dict()))
    damage(state)
    weighting = ClassVolume([50, 40, 30])
    with pytest.raises(ValueError, match=named):
        weighting.load_state_dict(state)
    assert torch.equal(weighting.weights, torch.ones(3))
    assert not weighting.active


def test_a_state_with_other_draws_is_refused_but_rounding_is_tolerated():
    state = observed(ClassVolume([50, 40, 30], draws=[5, 4, 3])).state_dict()
    ClassVolume([50, 40, 30], draws=[5 * (1 + 1e-8), 4, 3]).load_state_dict(state)
    for other in ([4, 4, 4], [5 * (1 + 1e-4), 4, 3]):
        with pytest.raises(ValueError, match="sampler"):
            ClassVolume([50, 40, 30], draws=other).load_state_dict(state)


def test_radii_that_follow_from_the_counts_are_refused_where_a_state_has_others_but_rounding_is_not():
    state = InverseSqrtFrequency([50, 40, 30]).state_dict()
    for off, refused in ((1e-8, False), (1e-4, True)):
        other = state | {"log_radius64": state["log_radius64"] + torch.tensor([off, 0, 0]).double()}
        with pytest.raises(ValueError, match="radii") if refused else contextlib.nullcontext():
            InverseSqrtFrequency([50, 40, 30]).load_state_dict(other)


def test_loading_a_state_forgets_what_was_observed_before():
    state = observed(ClassVolume([50, 40, 30])).state_dict()
    clean, spoiled = ClassVolume([50, 40, 30]), ClassVolume([50, 40, 30])
    spoiled.observe(1e4 * torch.randn(60, 3), torch.arange(60) % 3)
    for weighting in (clean, spoiled):
        weighting.load_state_dict(state)
        observed(weighting, 5)
    assert torch.equal(clean.weights, spoiled.weights)


@pytest.mark.parametrize("make", [ClassVolume, InverseFrequency])
@pytest.mark.parametrize("assign", [False, True])
def test_a_baseline_without_a_state_loads_with_strict_false(make, assign):
    def model():
        return torch.nn.ModuleDict({"layer": torch.nn.Linear(3, 3), "criterion": ReweightedLoss(make([50, 40, 30]))})

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


@pytest.mark.parametrize("gone", ["weights", "log_radius64", "draws", "progress", "_extra_state"])
@pytest.mark.parametrize("strict", [False, True])
def test_an_incomplete_state_is_refused_with_strict_false_too(gone, strict):
    state = ReweightedLoss(observed(ClassVolume([50, 40, 30]))).state_dict()
    del state[f"weighting.{gone}"]
    criterion = ReweightedLoss(ClassVolume([50, 40, 30]))
    with pytest.raises(ValueError, match="missing"):
        criterion.load_state_dict(state, strict=strict)
    assert criterion.weighting.weights.tolist() == [1, 1, 1]


def test_keys_that_are_no_part_of_a_state_are_reported_as_torch_does():
    state = ReweightedLoss(observed(ClassVolume([50, 40, 30]))).state_dict() | {"weighting.own": torch.ones(1)}
    found = ReweightedLoss(ClassVolume([50, 40, 30])).load_state_dict(state, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == ([], ["weighting.own"])


def test_a_state_saved_under_data_parallel_loads_there():
    model = torch.nn.DataParallel(ReweightedLoss(observed(ClassVolume([50, 40, 30]))))
    other = torch.nn.DataParallel(ReweightedLoss(ClassVolume([50, 40, 30])))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.module.weighting.weights, model.module.weighting.weights)
    assert other.module.weighting.active
