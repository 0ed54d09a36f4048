"""A criterion inside a model: averages of state dicts, casts and other formats keep settings, epoch and weights."""

import copy
import io
from functools import partial

import numpy as np
import pytest
import torch
from epochs import normal
from oracles import observed
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, get_swa_avg_fn, update_bn

from vlltr_plugin import ClassVolume, EffectiveNumber, InverseSqrtFrequency, ReweightedLoss, Uniform
from vlltr_plugin.core.epoch_statistics import expected_alpha

COUNTS = [97, 40, 3]
DECAY = 0.9


class Model(nn.Module):
    """A classifier that computes its own loss, as under Lightning, HF or Accelerate."""

    def __init__(self, make=ClassVolume, **options) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.criterion = ReweightedLoss(make(COUNTS, draws=[9.0, 6.0, 2.0], **options))

    def forward(self, inputs, targets=None):
        logits = self.layer(inputs)
        return logits if targets is None else self.criterion(logits, targets)


def train(model, after_step=lambda model: None, epochs=3, steps=5):
    """Trains; returns the weights in force at each step, and the states at the ends of the epochs."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.layer.parameters(), 0.1)
    weights, states = [], []
    for _ in range(epochs):
        for _ in range(steps):
            loss = model(torch.randn(30, 4, generator=generator), torch.arange(30) % 3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after_step(model)
            weights.append(model.criterion.weighting.weights.double().clone())
        model.criterion.end_epoch()
        states.append(copy.deepcopy(model.state_dict()))
    return weights, states


def resumed(state, make=ClassVolume, **options):
    model = Model(make, **options)
    model.load_state_dict(state)
    return model.criterion.weighting


def timm_ema(name):
    def start(model):
        import timm.utils

        ema = getattr(timm.utils, name)(model, decay=DECAY)
        return ema.update, ema.ema if name == "ModelEma" else ema.module

    return start


def averaged_model(**options):
    def start(model):
        averaged = AveragedModel(model, **options)
        return averaged.update_parameters, averaged.module

    return start


def moving_average(weights):
    """The definition, in float64."""
    average = torch.ones(3).double()
    for now in weights:
        average = DECAY * average + (1 - DECAY) * now
    return average


EMA, MANY, SWA = get_ema_avg_fn(DECAY), get_ema_multi_avg_fn(DECAY), get_swa_avg_fn()
AVERAGES = {
    # name: (start, the averaged weights, the epoch of the average)
    "timm ModelEma": (timm_ema("ModelEma"), moving_average, 1),
    "timm ModelEmaV2": (timm_ema("ModelEmaV2"), moving_average, 1),
    "timm ModelEmaV3": (timm_ema("ModelEmaV3"), moving_average, 1),
    "EMA": (averaged_model(avg_fn=EMA, use_buffers=True), moving_average, 1),
    "EMA, many at once": (averaged_model(multi_avg_fn=MANY, use_buffers=True), moving_average, 1),
    "SWA": (averaged_model(avg_fn=SWA, use_buffers=True), lambda weights: torch.stack(weights).mean(0), 1),
    "default": (averaged_model(use_buffers=True), lambda weights: torch.stack(weights).mean(0), 1),
    "SWA of the parameters": (averaged_model(avg_fn=SWA), lambda weights: weights[-1], 2),
    "default of the parameters": (averaged_model(), lambda weights: weights[-1], 2),
}


@pytest.mark.filterwarnings("ignore:.*ModelEma:DeprecationWarning")
@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_of_the_model_resumes_with_its_settings_epoch_and_averaged_weights(name):
    start, average_of, epoch = AVERAGES[name]
    model = Model(start_epoch=0)
    update, average = start(model)
    weights, states = train(model, update)
    update_bn([torch.randn(8, 4)], average)
    assert states[-1].keys() == average.state_dict().keys()
    found, expected = resumed(average.state_dict(), start_epoch=0), average_of(weights)
    torch.testing.assert_close(found.weights.double(), expected, rtol=1e-5, atol=0)
    assert float(expected.max()) > 1.5
    assert expected_alpha(found.weights, found.draws) == pytest.approx(1, abs=1e-5)
    assert (found.active, found.epoch) == (True, epoch)
    with pytest.raises(ValueError, match="start_epoch: saved 0, here 2"):
        resumed(average.state_dict(), start_epoch=2)


def test_radii_of_an_average_with_states_that_had_none_are_those_of_the_others():
    model = Model(start_epoch=0)
    update, average = timm_ema("ModelEmaV2")(model)
    _, states = train(model, update, epochs=2)
    found = resumed(average.state_dict(), start_epoch=0)
    only = resumed(states[0], start_epoch=0)
    torch.testing.assert_close(found.log_radius, only.log_radius)  # the second epoch's came after the last update
    found.begin_epoch(1)
    torch.testing.assert_close(found.weights, only.weights)


SOUPS = {"even": (1 / 3, 1 / 3, 1 / 3), "uneven": (0.15, 0.35, 0.5)}


def soup(states, shares):
    return {key: sum(share * state[key] for share, state in zip(shares, states, strict=True)) for key in states[0]}


@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber, InverseSqrtFrequency, Uniform])
@pytest.mark.parametrize("name", SOUPS)
def test_a_soup_of_checkpoints_resumes_with_its_settings_and_the_averaged_weights(name, make):
    _, states = train(Model(make))
    mixed = soup(states, SOUPS[name])
    found = resumed(mixed, make)
    torch.testing.assert_close(found.weights, mixed["criterion.weighting.weights"], rtol=1e-6, atol=0)
    assert found.epoch == 2
    found.begin_epoch(3)
    assert expected_alpha(found.weights, found.draws) == pytest.approx(1, abs=1e-5)


def test_a_soup_of_runs_with_different_settings_is_refused():
    states = [train(Model(start_epoch=start))[1][-1] for start in (1, 2)]
    with pytest.raises(ValueError, match="different settings"):
        resumed(soup(states, (0.5, 0.5)))


def through_numpy(state):
    file = io.BytesIO()
    np.savez(file, **{k: v.numpy() for k, v in state.items()})
    file.seek(0)
    return {k: torch.from_numpy(v) for k, v in np.load(file).items()}


def through_torch(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def through_safetensors(state):
    safetensors = pytest.importorskip("safetensors.torch")
    return safetensors.load(safetensors.save(state))


EXACT = {
    "numpy": through_numpy,
    "torch": through_torch,
    "safetensors": through_safetensors,
    "clones": lambda state: {k: v.clone().cpu() for k, v in state.items()},
    "flat and back": lambda state: {k: v.flatten().contiguous().view(v.shape) for k, v in state.items()},
    "double": lambda state: {k: v.double() for k, v in state.items()},
    "deepcopy": copy.deepcopy,
}
CASTS = {"half": torch.Tensor.half, "bfloat16": torch.Tensor.bfloat16, "float": torch.Tensor.float}
FEATURES = partial(ClassVolume, features=2, feature_seed=2)


@pytest.mark.parametrize("make", [ClassVolume, FEATURES, EffectiveNumber], ids=["volume", "features", "frequencies"])
@pytest.mark.parametrize("name", EXACT)
def test_another_file_format_keeps_the_state_bit_for_bit(name, make):
    model = Model(make)
    train(model)
    found, whole = resumed(EXACT[name](model.state_dict()), make), model.criterion.weighting
    assert_same_state(found, whole)
    assert torch.equal(observed(found, 7).weights, observed(whole, 7).weights)


def assert_same_state(found, whole):
    for name in ("weights", "log_radius64", "substituted", "draws"):
        assert torch.equal(getattr(found, name), getattr(whole, name)), name
        assert getattr(found, name).dtype == getattr(whole, name).dtype
    assert (found.epoch, found.active) == (3, True)


@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber, InverseSqrtFrequency])
@pytest.mark.parametrize("counts", [COUNTS, [100_000, 40_000, 300], [10**6, 10**6, 10**5]], ids=str)
@pytest.mark.parametrize("name", CASTS)
def test_a_cast_of_the_state_keeps_settings_epoch_and_the_weights_to_its_rounding(name, counts, make):
    """Also where classes have more images than half holds."""
    whole, found, few = (ReweightedLoss(make(counts, draws=draws)) for draws in (None, None, [counts[0], 2, 1]))
    observed(whole.weighting, epochs=3)
    state = {key: CASTS[name](value) for key, value in whole.state_dict().items()}
    assert state["weighting.draws"].isinf().any() == (name == "half" and max(counts) > 65504)
    found.load_state_dict(state)
    eps = torch.finfo(state["weighting.draws"].dtype).eps
    torch.testing.assert_close(found.weighting.weights, whole.weighting.weights, rtol=eps, atol=0)
    assert found.weighting.weights.dtype == torch.float32
    assert (found.weighting.epoch, found.weighting.active) == (3, True)
    assert torch.equal(found.weighting.draws, whole.weighting.draws)
    with pytest.raises(ValueError, match="expected draws"):
        few.load_state_dict(state)


@pytest.mark.parametrize("name", CASTS)
@pytest.mark.parametrize("epoch", [255, 257, 301, 2049, 65_535, 65_537, 1_000_003])
def test_a_cast_of_the_state_keeps_every_epoch(name, epoch):
    whole, found = (ReweightedLoss(ClassVolume(COUNTS, start_epoch=epoch)) for _ in range(2))
    observed(whole.weighting)
    whole.weighting.begin_epoch(epoch)
    found.load_state_dict({key: CASTS[name](value) for key, value in whole.state_dict().items()})
    assert (found.weighting.epoch, found.weighting.active) == (epoch, True)


@pytest.mark.parametrize(("epochs", "mean"), [((1, 2, 2), 2), ((254, 257, 258), 256), ((300, 301, 301), 301)])
def test_an_average_resumes_in_the_rounded_mean_of_the_epochs(epochs, mean):
    criterion, states = ReweightedLoss(InverseSqrtFrequency(COUNTS)), []
    for epoch in epochs:
        criterion.weighting.begin_epoch(epoch)
        states.append(copy.deepcopy(criterion.state_dict()))
    criterion.load_state_dict(soup(states, SOUPS["even"]))
    assert criterion.weighting.epoch == mean


@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber, Uniform])
def test_every_entry_is_a_floating_point_tensor_on_the_weights_device_that_shares_no_memory(make):
    state = Model(make).state_dict()
    assert all(isinstance(v, torch.Tensor) and v.is_floating_point() and v.is_contiguous() for v in state.values())
    assert len({v.untyped_storage().data_ptr() for v in state.values()}) == len(state)


@pytest.mark.parametrize("assign", [False, True])
def test_a_loaded_state_stays_apart_from_the_one_it_came_from(assign):
    model = Model()
    _, states = train(model)
    before = copy.deepcopy(states[-1])
    other = Model()
    other.load_state_dict(states[-1], assign=assign)
    assert torch.equal(other.criterion.weighting.weights, model.criterion.weighting.weights)
    other.criterion.weighting.begin_epoch(0)
    with pytest.warns(UserWarning, match="No training batch"):
        other.criterion.end_epoch(4)
    assert all(torch.equal(states[-1][k], v) for k, v in before.items() if "criterion" in k)


def test_a_state_in_the_plain_form_of_host_checkpoints_and_of_earlier_versions_loads():
    model = Model()
    train(model)
    whole = model.criterion.weighting
    plain = through_torch(whole.plain_state())
    assert list(plain) == ["weights", "log_radius64", "substituted", "draws", "_extra_state"]
    assert plain["_extra_state"] == {"epoch": 3, "has_radii": True, "settings": whole.settings()}
    state = {k: v for k, v in model.state_dict().items() if "weighting" not in k}
    state |= {f"criterion.weighting.{k}": v for k, v in plain.items()}
    assert_same_state(resumed(state), whole)
    state["criterion.weighting._extra_state"]["settings"]["variant"] = "bv"
    with pytest.raises(ValueError, match="variant: saved 'bv', here 'dv'"):
        resumed(state)


def test_buffers_written_in_place_as_ddp_and_averages_do_carry_the_epoch_and_that_there_are_radii():
    first, second = Model(start_epoch=4), Model(start_epoch=4)
    train(first)
    for own, sent in zip(second.buffers(), first.buffers(), strict=True):
        own.copy_(sent)
    for model in (first, second):
        model.criterion.observe(normal(60, 3), torch.arange(60) % 3)
        model.criterion.end_epoch()
    assert (second.criterion.weighting.epoch, second.criterion.weighting.active) == (4, True)
    assert torch.equal(second.criterion.weighting.weights, first.criterion.weighting.weights)
    assert float(first.criterion.weighting.weights.max()) > 1.5
