"""Devices without float64 (Apple's MPS): the step stays there, float64 state on the CPU, numbers are the CPU's."""

import copy

import pytest
import torch
import torch.nn.functional as F
from epochs import EVERY_WEIGHTING, numbers_of_a_run
from float32_device import DEVICE, LazyTensor, SimulatedDevice
from mini_host import MiniHost
from torch import nn

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    FocalLosses,
    LogitAdjustedLoss,
    ReweightedLoss,
)
from vlltr_plugin.core.torch_context import float64_device

CPU = torch.device("cpu")


@pytest.fixture
def _device():
    with SimulatedDevice():
        yield


def kept(value):
    return value.kept if isinstance(value, LazyTensor) else value


def a_run(make, device, soft, criterion=ReweightedLoss, **options):
    criterion = criterion(make([50, 40, 30]), smoothing=0.1, **options)
    return criterion, numbers_of_a_run(criterion, soft, device)


def assert_same_numbers(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(kept(a), b, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.usefixtures("_device")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("make", EVERY_WEIGHTING)
def test_training_there_gives_the_weights_losses_and_gradients_of_the_cpu(make, soft):
    criterion, found = a_run(EVERY_WEIGHTING[make], DEVICE, soft)
    twin, expected = a_run(EVERY_WEIGHTING[make], CPU, soft)
    assert_same_numbers(found, expected)
    assert {number.device for number in found} == {DEVICE}
    weighting = criterion.weighting
    assert weighting.weights.dtype == torch.float32
    assert {b.device for b in weighting.buffers() if b.dtype == torch.float64} == {CPU}
    assert (weighting.device64, twin.weighting.device64) == (CPU, CPU)
    assert getattr(weighting, "skipped", 0) == getattr(twin.weighting, "skipped", 0)
    assert torch.equal(weighting.log_radius64, twin.weighting.log_radius64)
    assert torch.equal(weighting.substituted, twin.weighting.substituted)


CRITERIA = {
    "sigmoid": {"base": "sigmoid"},
    "focal": {"base": FocalLosses(1.5)},
    "callable": {"base": nn.CrossEntropyLoss(reduction="none")},
    "margins": {"criterion": LogitAdjustedLoss},
    "ignore_index": {"ignore_index": 1},
    "margins, ignore_index": {"criterion": LogitAdjustedLoss, "ignore_index": 1},
}


@pytest.mark.usefixtures("_device")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_runs_there(name, soft):
    _, found = a_run(ClassVolume, DEVICE, soft, **CRITERIA[name])
    _, expected = a_run(ClassVolume, CPU, soft, **CRITERIA[name])
    assert_same_numbers(found, expected)


@pytest.mark.usefixtures("_device")
def test_labels_out_of_range_are_named_there():
    criterion = ReweightedLoss(ClassVolume([50, 40, 30]))
    with pytest.raises(ValueError, match=r"labels in 0\.\.2 but got 3"):
        criterion(torch.randn(4, 3).to(DEVICE).requires_grad_(), torch.tensor([0, 1, 2, 3]).to(DEVICE))


@pytest.mark.usefixtures("_device")
@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber])
@pytest.mark.parametrize("how", ["to", "follow", "cast"])
def test_a_move_in_mid_epoch_and_back_loses_nothing(make, how):
    expected, moved = make([50, 40, 30]), make([50, 40, 30])
    generator = torch.Generator().manual_seed(0)
    for device in (CPU, DEVICE, CPU, DEVICE):
        rows, labels = torch.randn(60, 3, generator=generator), torch.arange(60) % 3
        expected.observe(rows, labels)
        if how != "follow":
            moved.to(device) if how == "to" else moved.to(device, torch.float16)
            assert moved.weights.device.type == device.type
        moved.observe(rows.to(device), labels.to(device))
    for weighting in (expected, moved):
        weighting.end_epoch()
    assert torch.equal(kept(moved.weights), expected.weights)


@pytest.mark.usefixtures("_device")
@pytest.mark.parametrize("where", [("lazy", "lazy"), ("lazy", "cpu"), ("cpu", "lazy")])
@pytest.mark.parametrize("assign", [False, True])
def test_a_state_loads_there_and_from_there(where, assign):
    first, _ = a_run(ClassVolume, torch.device(where[0]), soft=False)
    state = first.state_dict()
    assert {v.device.type for k, v in state.items() if v.dtype == torch.float64} == {"cpu"}
    second = ReweightedLoss(ClassVolume([50, 40, 30]), smoothing=0.1).to(where[1])
    second.load_state_dict(state, assign=assign)
    assert second.weighting.weights.device.type == where[1]
    assert torch.equal(kept(second.weighting.weights), kept(first.weighting.weights))
    assert second.weighting.epoch == 3
    plain = first.weighting.plain_state()
    assert all(value.device == CPU for value in plain.values() if isinstance(value, torch.Tensor))
    second.weighting.load_state_dict(copy.deepcopy(plain))


@pytest.mark.usefixtures("_device")
def test_the_numbers_of_the_log_are_those_of_the_cpu():
    drawn = torch.tensor([50.0, 40.0, 30.0]).double()
    found = [a_run(ClassVolume, device, soft=False)[0].weighting for device in (DEVICE, CPU)]
    logged = [weighting.statistics(weighting.weights.clone(), drawn) for weighting in found]
    assert logged[0] == logged[1]


@pytest.mark.usefixtures("_device")
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("branch", ["image_text", "sum", "each"])
def test_a_host_s_criterion_counts_what_is_drawn_there(mixed, branch, tmp_path):
    def run(device):
        host = MiniHost({"type": "class_volume", "branch": branch}, mixed=mixed)
        host.args.output_dir = str(tmp_path / device.type)
        host.model.forward = tuple  # its outputs are given
        host.attach()
        for epoch in range(2):
            host.hook.begin_epoch(epoch)
            generator = torch.Generator().manual_seed(epoch)
            for _ in range(4):
                outputs = [torch.randn(20, 5, generator=generator).to(device).requires_grad_() for _ in range(2)]
                targets = torch.arange(20) % 5
                if mixed:
                    targets = F.one_hot(targets, 5) * 0.9 + 0.1 / 5
                for output in host.model(outputs):
                    host.criterion(None, output, targets.to(device))
            stats = host.hook.end_epoch(epoch)
        return host, {key: value for key, value in stats.items() if "seconds" not in key}

    host, found = run(DEVICE)
    _, expected = run(CPU)
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(weighting.weights.device == DEVICE for weighting in host.hook.weightings.values())
    resumed = MiniHost({"type": "class_volume", "branch": branch}, mixed=mixed)
    resumed.attach()
    resumed.hook.load(host.hook.checkpoint())


@pytest.mark.usefixtures("_device")
def test_only_devices_without_float64_send_it_home():
    assert [float64_device(torch.device(name)).type for name in ("cpu", "meta", "lazy")] == ["cpu", "meta", "cpu"]
