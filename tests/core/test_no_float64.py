"""Devices without float64 (Apple's MPS): the step stays there, float64 state on the CPU, numbers are the CPU's."""

import pytest
import torch
import torch.nn.functional as F
from epochs import EVERY_WEIGHTING, end_epochs, normal, numbers_of_a_run
from float32_device import DEVICE, LazyTensor, SimulatedDevice
from mini_host import MiniHost
from torch import nn

from vlltr_plugin import ClassVolume, EffectiveNumber, FocalLosses, LogitAdjustedLoss, ReweightedLoss

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("_device")


@pytest.fixture
def _device():
    with SimulatedDevice():
        yield


def kept(value):
    return value.kept if isinstance(value, LazyTensor) else value


def a_run(device, soft=False, make=ClassVolume, criterion=ReweightedLoss, **options):
    criterion = criterion(make([50, 40, 30]), smoothing=0.1, **options)
    return criterion, numbers_of_a_run(criterion, soft, device)


RUNS = {name: {"make": make} for name, make in EVERY_WEIGHTING.items()} | {
    "sigmoid": {"base": "sigmoid"},
    "focal": {"base": FocalLosses(1.5)},
    "callable": {"base": nn.CrossEntropyLoss(reduction="none")},
    "margins": {"criterion": LogitAdjustedLoss},
    "ignore_index": {"ignore_index": 1},
    "margins, ignore_index": {"criterion": LogitAdjustedLoss, "ignore_index": 1},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", RUNS)
def test_training_without_float64_gives_the_numbers_of_the_cpu(name, soft):
    criterion, found = a_run(DEVICE, soft, **RUNS[name])
    twin, expected = a_run(CPU, soft, **RUNS[name])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(kept(a), b, rtol=1e-6, atol=1e-9, equal_nan=True)
    assert {number.device for number in found} == {DEVICE}
    weighting, other = criterion.weighting, twin.weighting
    assert weighting.weights.dtype == torch.float32
    assert {b.device for b in weighting.buffers() if b.dtype == torch.float64} == {CPU}
    assert (weighting.device64, other.device64) == (CPU, CPU)
    assert torch.equal(weighting.log_radius64, other.log_radius64)
    assert torch.equal(weighting.substituted, other.substituted)
    logged = [one.weighting.statistics(one.in_force(), one.drawn) for one in (criterion, twin)]
    assert logged[0] == logged[1]


def test_labels_out_of_range_are_refused_without_float64():
    criterion = ReweightedLoss(ClassVolume([50, 40, 30]))
    with pytest.raises(ValueError, match=r"labels in 0\.\.2 but got 3"):
        criterion(torch.randn(4, 3).to(DEVICE).requires_grad_(), torch.tensor([0, 1, 2, 3]).to(DEVICE))


@pytest.mark.parametrize("make", [ClassVolume, EffectiveNumber])
@pytest.mark.parametrize("how", ["to", "follow", "cast"])
def test_a_move_in_mid_epoch_and_back_loses_nothing(make, how):
    expected, moved = make([50, 40, 30]), make([50, 40, 30])
    for seed, device in enumerate((CPU, DEVICE, CPU, DEVICE)):
        rows, labels = normal(60, 3, seed=seed), torch.arange(60) % 3
        expected.observe(rows, labels)
        if how != "follow":
            moved.to(device) if how == "to" else moved.to(device, torch.float16)
            assert moved.weights.device.type == device.type
        moved.observe(rows.to(device), labels.to(device))
    end_epochs(expected, moved)
    assert torch.equal(kept(moved.weights), expected.weights)


@pytest.mark.parametrize("where", [("lazy", "lazy"), ("lazy", "cpu"), ("cpu", "lazy")])
@pytest.mark.parametrize("assign", [False, True])
def test_a_state_loads_on_and_from_a_device_without_float64(where, assign):
    first, _ = a_run(torch.device(where[0]))
    state = first.state_dict()
    assert {v.device.type for k, v in state.items() if v.dtype == torch.float64} == {"cpu"}
    second = ReweightedLoss(ClassVolume([50, 40, 30]), smoothing=0.1).to(where[1])
    second.load_state_dict(state, assign=assign)
    assert second.weighting.weights.device.type == where[1]
    assert torch.equal(kept(second.weighting.weights), kept(first.weighting.weights))
    assert second.weighting.epoch == 3
    plain = first.weighting.plain_state()
    assert all(value.device == CPU for value in plain.values() if isinstance(value, torch.Tensor))
    second.weighting.load_state_dict(plain)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("branch", ["image_text", "sum", "each"])
def test_a_host_runs_on_a_device_without_float64(mixed, branch, tmp_path):
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
