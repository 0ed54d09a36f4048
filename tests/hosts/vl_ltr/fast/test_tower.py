"""The frozen tower with its batch norms folded."""

import argparse
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from vlltr_plugin.hosts.vl_ltr.fast import speed_up

from .plain_model import build


@pytest.fixture
def plain() -> Any:
    return build(tower=True)


@pytest.fixture
def fast(plain: Any) -> Any:
    model = copy.deepcopy(plain)
    speed_up(argparse.Namespace(fast_tower=True), model)
    return model


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(4))


def assert_equal(fast: Any, plain: Any) -> None:
    assert torch.allclose(fast.visual(IMAGES), plain.visual(IMAGES), atol=1e-5)


def test_every_batch_norm_after_a_convolution_is_folded(fast: Any) -> None:
    folded = [name for name, module in fast.visual.named_modules() if hasattr(module, "fold")]
    assert folded == ["conv1", "bn1", "conv2", "bn2", "side.1", "side.2"]


def test_outputs_agree_up_to_rounding(fast: Any, plain: Any) -> None:
    for model in (plain, fast):
        model.visual.eval()
    assert_equal(fast, plain)
    exact = copy.deepcopy(plain).double().visual(IMAGES.double())
    ours, theirs = ((model.visual(IMAGES) - exact).norm() for model in (fast, plain))
    assert ours <= 2 * theirs


def test_activations_are_channels_last_and_no_batch_norm_runs(fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fast.visual.eval()
    fast.visual.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a batch norm ran")

    monkeypatch.setattr(nn.functional, "batch_norm", fail)
    fast.visual(IMAGES)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()


@pytest.mark.parametrize("name", ["conv2.weight", "conv2.bias", "bn1.weight", "bn1.bias", "bn1.running_mean"])
def test_each_single_change_is_noticed(fast: Any, plain: Any, name: str) -> None:
    fast(IMAGES)
    for model in (fast, plain):
        model.visual.eval()
        with torch.no_grad():
            model.visual.state_dict()[name].add_(0.5)
    assert_equal(fast, plain)


def test_in_training_mode_batch_norm_works_and_updates_as_before(fast: Any, plain: Any) -> None:
    for model in (fast, plain):
        model.visual.train()
    assert_equal(fast, plain)
    assert torch.equal(fast.visual.bn1.running_mean, plain.visual.bn1.running_mean)


def test_a_tower_unfrozen_later_trains_as_before(fast: Any, plain: Any) -> None:
    for model in (fast, plain):
        model.visual.requires_grad_(True)
        model(IMAGES)[0].square().mean().backward()
    theirs, ours = ((m.visual.conv1.weight.grad, m.visual.bn1.weight.grad) for m in (plain, fast))
    assert torch.equal(theirs[0], ours[0])
    assert torch.equal(theirs[1], ours[1])


def test_autocast_decides_the_type_as_before(fast: Any, plain: Any) -> None:
    for model in (fast, plain):
        model.visual.eval()
    exact = plain.visual(IMAGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs, ours = plain.visual(IMAGES), fast.visual(IMAGES)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - exact).norm() <= 2 * (theirs - exact).norm()
    assert [dtype for dtype, _ in fast.visual.conv1.fold.cache.values] == [
        torch.bfloat16
    ]  # else autocast casts the weights at each step


def test_a_convolution_that_is_used_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        input_resolution = 8

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.third, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.third(self.second(self.conv(self.first(self.conv(x))))))

    model = nn.Module()
    model.visual = Twice().requires_grad_(False)
    speed_up(argparse.Namespace(fast_tower=True), model)
    assert [name for name, module in model.named_modules() if hasattr(module, "fold")] == [
        "visual.third",
        "visual.norm",
    ]


def test_an_output_with_a_second_reader_is_refused() -> None:
    class Read(nn.Module):
        input_resolution = 8

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            nn.init.uniform_(self.norm.running_var, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.conv(x)
            return out + self.norm(out)

    model = nn.Module()
    model.visual = Read().requires_grad_(False)
    with pytest.raises(ValueError, match="Expected the folded tower to compute the same"):
        speed_up(argparse.Namespace(fast_tower=True), model)
    assert not any("forward" in vars(module) for module in model.modules())


def changes() -> dict[str, Callable[[Any], object]]:
    def forward_in_train_mode(model: Any) -> None:
        for module in model.visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        model.visual(3 * IMAGES + 1)
        model.visual.eval()

    def first_norm_alone(model: Any) -> None:
        model.visual.bn1.train()
        model.visual.bn1(2 + 3 * torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(1)))
        model.visual.eval()

    return {
        "train mode": forward_in_train_mode,
        "train mode under no_grad": torch.no_grad()(forward_in_train_mode),
        "train mode under inference_mode": torch.inference_mode()(forward_in_train_mode),
        "one norm": first_norm_alone,
        "update_bn": lambda model: torch.optim.swa_utils.update_bn([3 * IMAGES], model.visual) or model.visual.eval(),
        "reset": lambda model: model.visual.bn2.reset_running_stats(),
        "eps": lambda model: setattr(model.visual.bn1, "eps", 0.5),
    }


@pytest.mark.parametrize("change", changes())
def test_a_frozen_tower_is_folded_anew_when_its_statistics_have_changed(change: str, plain: Any, fast: Any) -> None:
    for model in (plain, fast):
        model.visual.eval()
        model.visual(IMAGES)
    before = plain.visual(IMAGES)
    for model in (plain, fast):
        changes()[change](model)
    assert (plain.visual(IMAGES) - before).norm() > 0.03 * before.norm()
    assert_equal(fast, plain)
