"""Dtypes and numbers do not hang on torch's default dtype or device."""

import copy

import pytest
import torch
from epochs import EVERY_WEIGHTING, default_dtype, numbers_of_a_run
from mini_host import MiniHost
from oracles import observed

from vlltr_plugin import ClassVolume, EffectiveNumber, LogitAdjustedLoss, ReweightedLoss
from vlltr_plugin.core.epoch_statistics import expected_alpha
from vlltr_plugin.training.draws import class_counts_of, expected_draws

DTYPES = [torch.bfloat16, torch.float16, torch.float64]
COUNTS, DRAWS = [1001, 301, 47], [0.7, 0.2, 0.1]


def tensors_of(weighting):
    found = dict(weighting.named_buffers()) | weighting.state_dict() | vars(weighting)
    moments = getattr(weighting, "_moments", None)
    found |= {f"moments {name}": value for name, value in vars(moments).items()} if moments else {}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def a_run(make, soft):
    """A run, a state that is loaded, and the losses of both criteria; tensors in the middle of an epoch."""
    criterion, other = (ReweightedLoss(make(COUNTS, draws=DRAWS), smoothing=0.1) for _ in range(2))
    numbers = numbers_of_a_run(criterion, soft)
    rows, labels = torch.ones(3, criterion.weighting.num_classes, dtype=torch.float32), torch.arange(3)
    other.load_state_dict(criterion.state_dict())
    adjusted = LogitAdjustedLoss(other.weighting, smoothing=0.1)
    numbers += [other.losses(rows, labels), adjusted.losses(rows, labels)]
    other.observe(rows, labels)
    return other.weighting, tensors_of(other.weighting), numbers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("make", EVERY_WEIGHTING)
def test_dtypes_and_numbers_are_those_of_any_other_run(make, soft, dtype):
    expected, expected_tensors, expected_numbers = a_run(EVERY_WEIGHTING[make], soft)
    with default_dtype(dtype):
        weighting, tensors, numbers = a_run(EVERY_WEIGHTING[make], soft)
    assert weighting.weights.dtype == torch.float32
    assert weighting.log_radius64.dtype == weighting.draws.dtype == weighting.class_counts.dtype == torch.float64
    assert {k: v.dtype for k, v in tensors.items()} == {k: v.dtype for k, v in expected_tensors.items()}
    assert torch.equal(weighting.weights, expected.weights)
    assert torch.equal(weighting.draws, expected.draws)
    for found, wanted in zip(numbers, expected_numbers, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)  # dtypes, too
    if dtype == torch.bfloat16:
        assert expected_alpha(weighting.weights, weighting.draws) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_read_off_a_sampler_are_exact(dtype):
    targets = [0] * 301 + [1] * 47
    sampler = torch.utils.data.WeightedRandomSampler([1.0] * 348, 348)
    sampler.weights = [0.3] * 301 + [0.7] * 47
    expected = expected_draws(sampler, targets, 2)
    assert expected.tolist() == pytest.approx([348 * 90.3 / 123.2, 348 * 32.9 / 123.2], rel=1e-14)
    with default_dtype(dtype):
        assert torch.equal(expected_draws(sampler, targets, 2), expected)
        assert class_counts_of([float(label) for label in range(600)], 600).tolist() == [1] * 600


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mixed", [False, True])
def test_a_host_accepts_its_criterion_and_logs_the_same_weights(dtype, mixed):
    with default_dtype(dtype):
        host = MiniHost({"type": "class_volume"}, mixed=mixed)
        host.model.float()
        host.dataset.data = host.dataset.data.float()
        host.attach()
    weighting = host.hook.weightings["image_text"]
    assert host.criterion.base_criterion.criteria["image_text"].drawn.dtype == torch.float64
    assert (weighting.weights.dtype, weighting.draws.dtype) == (torch.float32, torch.float64)


@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber])
def test_a_criterion_built_on_the_meta_device_holds_its_numbers(make):
    with torch.device("meta"):
        criterion = torch.nn.Sequential(torch.nn.Linear(3, 3), ReweightedLoss(make([50, 40, 30])))
    criterion.to_empty(device="cpu")
    expected = make([50, 40, 30])
    assert torch.equal(criterion[1].weighting.weights, expected.weights)
    assert torch.equal(observed(criterion[1].weighting).weights, observed(expected).weights)
    with torch.device("meta"):
        twin, loaded = copy.deepcopy(expected), make([50, 40, 30])
        loaded.load_state_dict(expected.state_dict())
        twin.end_epoch(7) if make is EffectiveNumber else twin.begin_epoch(8)
        observed_device = {buffer.device.type for buffer in (*twin.buffers(), *loaded.buffers())}
    assert observed_device == {"cpu"}
    assert torch.equal(loaded.weights, expected.weights)
