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
        module = ema.ema if name == "ModelEma" else ema.module
        return ema.update, module

    return start


def hand_written(model, only_floating):
    twin = copy.deepcopy(model)

    def update(model):
        with torch.no_grad():
            for key, value in twin.state_dict().items():
                now = model.state_dict()[key]
                if only_floating and not value.dtype.is_floating_point:
                    value.copy_(now)
                else:
                    value.copy_(value * DECAY + (1 - DECAY) * now)

    return update, twin


def averaged_model(**options):
    def start(model):
        averaged = AveragedModel(model, **options)
        return averaged.update_parameters, averaged.module

    return start


EMAS = {
    "timm ModelEma": timm_ema("ModelEma"),
    "timm ModelEmaV2": timm_ema("ModelEmaV2"),
    "timm ModelEmaV3": timm_ema("ModelEmaV3"),
    "by hand": lambda model: hand_written(model, only_floating=False),
    "by hand, floating point only": lambda model: hand_written(model, only_floating=True),
    "AveragedModel, buffers too": averaged_model(avg_fn=get_ema_avg_fn(DECAY), use_buffers=True),
    "AveragedModel, many at once": averaged_model(multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True),
}


@pytest.mark.filterwarnings("ignore:.*ModelEma:DeprecationWarning")
@pytest.mark.parametrize("name", EMAS)
def test_a_moving_average_of_the_model_resumes_with_its_settings_and_the_averaged_weights(name):
    model = Model(start_epoch=0)
    update, average = EMAS[name](model)
    weights, _ = train(model, update)
    found = resumed(average.state_dict(), start_epoch=0)
    expected = torch.ones(3).double()
    for now in weights:
        expected = DECAY * expected + (1 - DECAY) * now
    torch.testing.assert_close(found.weights.double(), expected, rtol=1e-5, atol=0)
    assert float(expected.max()) > 1.5
    assert expected_alpha(found.weights, found.draws) == pytest.approx(1, abs=1e-5)
    assert found.active
    with pytest.raises(ValueError, match="start_epoch: saved 0, here 2"):
        resumed(average.state_dict(), start_epoch=2)


def test_radii_of_an_average_with_states_that_had_none_are_those_of_the_others():
    model = Model(start_epoch=0)
    update, average = hand_written(model, only_floating=False)
    _, states = train(model, update, epochs=2)
    found = resumed(average.state_dict(), start_epoch=0)
    only = resumed(states[0], start_epoch=0)
    torch.testing.assert_close(found.log_radius, only.log_radius)  # the second epoch's came after the last update
    found.begin_epoch(1)
    torch.testing.assert_close(found.weights, only.weights)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("average", [None, get_swa_avg_fn()], ids=["default", "swa"])
def test_stochastic_weight_averaging_and_update_bn_go_through(use_buffers, average):
    model = Model(start_epoch=0)
    averaged = AveragedModel(model, avg_fn=average, use_buffers=use_buffers)
    weights, states = train(model, averaged.update_parameters)
    update_bn([torch.randn(8, 4)], averaged)
    found = resumed(averaged.module.state_dict(), start_epoch=0)
    expected = torch.stack(weights).mean(0) if use_buffers else weights[-1]
    torch.testing.assert_close(found.weights.double(), expected, rtol=1e-5, atol=0)
    assert found.epoch == (1 if use_buffers else 2)
    through = {k.removeprefix("module."): v for k, v in averaged.state_dict().items() if k != "n_averaged"}
    assert torch.equal(resumed(through, start_epoch=0).weights, found.weights)
    assert states[-1].keys() == through.keys()


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
@pytest.mark.parametrize("name", CASTS)
def test_a_cast_of_the_state_keeps_settings_epoch_and_the_weights_to_its_rounding(name, make):
    model = Model(make)
    train(model)
    state = {key: CASTS[name](value) for key, value in model.state_dict().items()}
    found, whole = resumed(state, make), model.criterion.weighting
    eps = torch.finfo(state["layer.weight"].dtype).eps
    torch.testing.assert_close(found.weights, whole.weights, rtol=eps, atol=0)
    assert found.weights.dtype == torch.float32
    assert (found.epoch, found.active) == (3, True)
    assert torch.equal(found.draws, whole.draws)


@pytest.mark.parametrize("name", CASTS)
@pytest.mark.parametrize("epoch", [255, 257, 301, 2049, 65_535, 65_537, 1_000_003])
def test_a_cast_of_the_state_keeps_every_epoch(name, epoch):
    whole, found = (ReweightedLoss(ClassVolume(COUNTS, start_epoch=epoch)) for _ in range(2))
    observed(whole.weighting)
    whole.weighting.begin_epoch(epoch)
    found.load_state_dict({key: CASTS[name](value) for key, value in whole.state_dict().items()})
    assert (found.weighting.epoch, found.weighting.active) == (epoch, True)


@pytest.mark.parametrize(("epochs", "mean"), [((1, 2, 2), 2), ((254, 257, 258), 256), ((300, 301, 301), 301)])
def test_an_average_resumes_in_the_rounded_mean_of_the_epochs_and_so_do_buffers_averaged_in_place(epochs, mean):
    criterion = ReweightedLoss(InverseSqrtFrequency(COUNTS))
    states = []
    for epoch in epochs:
        criterion.weighting.begin_epoch(epoch)
        states.append(copy.deepcopy(criterion.state_dict()))
    average = {key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]}
    resumed, written = (ReweightedLoss(InverseSqrtFrequency(COUNTS)) for _ in range(2))
    resumed.load_state_dict(average)
    assert resumed.weighting.epoch == mean
    written.weighting.progress.copy_(average["weighting.progress"])
    written.end_epoch()
    assert written.weighting.epoch == mean + 1


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


@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber])
@pytest.mark.parametrize("counts", [[100_000, 40_000, 300], [10**6, 10**6, 10**5]])
def test_a_state_cast_to_half_loads_also_where_classes_have_more_images_than_half_holds(make, counts):
    criterion, other = (ReweightedLoss(make(counts)) for _ in range(2))
    observed(criterion.weighting)
    criterion.weighting.end_epoch()
    state = {key: value.half() for key, value in criterion.state_dict().items()}
    assert state["weighting.draws"].isinf().any()
    other.load_state_dict(state)
    torch.testing.assert_close(other.weighting.weights, criterion.weighting.weights, rtol=1e-3, atol=0)
    assert torch.equal(other.weighting.draws, criterion.weighting.draws)
    few = ReweightedLoss(make(counts, draws=[counts[0], 2, 1]))
    with pytest.raises(ValueError, match="expected draws"):
        few.load_state_dict(state)
