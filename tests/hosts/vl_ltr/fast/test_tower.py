"""The frozen tower with its batch norms folded."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from .plain_model import IMAGES, build, sped_up


@pytest.fixture
def plain() -> Any:
    model = build(tower=True)
    model.visual.eval()
    return model


@pytest.fixture
def fast(plain: Any) -> Any:
    return sped_up(copy.deepcopy(plain), fast_tower=True)


def assert_equal(fast: Any, plain: Any) -> None:
    assert torch.allclose(fast.visual(IMAGES), plain.visual(IMAGES), atol=1e-5)


def folded(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if hasattr(module, "fold")]


def test_every_batch_norm_after_a_convolution_is_folded_and_outputs_agree_up_to_rounding(fast: Any, plain: Any) -> None:
    assert folded(fast.visual) == ["conv1", "bn1", "conv2", "bn2", "side.1", "side.2"]
    assert_equal(fast, plain)
    exact = copy.deepcopy(plain).double().visual(IMAGES.double())
    ours, theirs = ((model.visual(IMAGES) - exact).norm() for model in (fast, plain))
    assert ours <= 2 * theirs


def test_activations_are_channels_last_and_no_batch_norm_runs(fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fast.visual.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a batch norm ran")

    monkeypatch.setattr(nn.functional, "batch_norm", fail)
    fast.visual(IMAGES)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()


def test_in_training_mode_and_unfrozen_the_tower_trains_as_before(fast: Any, plain: Any) -> None:
    for model in (fast, plain):
        model.visual.train()
    assert_equal(fast, plain)
    assert torch.equal(fast.visual.bn1.running_mean, plain.visual.bn1.running_mean)
    for model in (fast, plain):
        model.visual.requires_grad_(True)
        model(IMAGES)[0].square().mean().backward()
    for part in ("conv1", "bn1"):
        ours, theirs = (model.visual.get_submodule(part).weight.grad for model in (fast, plain))
        assert torch.equal(ours, theirs)


def test_autocast_decides_the_type_as_before(fast: Any, plain: Any) -> None:
    exact = plain.visual(IMAGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs, ours = plain.visual(IMAGES), fast.visual(IMAGES)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - exact).norm() <= 2 * (theirs - exact).norm()
    # Else autocast casts the weights at each step.
    assert [dtype for dtype, _ in fast.visual.conv1.fold.cache.values] == [torch.bfloat16]


class UsedTwice(nn.Module):
    """A convolution that two batch norms read, and one that could be folded."""

    input_resolution = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.third, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.third(self.second(self.conv(self.first(self.conv(x))))))


class ReadTwice(nn.Module):
    """A convolution whose output is read by more than its batch norm."""

    input_resolution = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        nn.init.uniform_(self.norm.running_var, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv(x)
        return out + self.norm(out)


def test_a_convolution_that_is_used_twice_is_left_alone_and_an_output_with_a_second_reader_refused() -> None:
    model = nn.Module()
    model.visual = UsedTwice().requires_grad_(False)
    assert folded(sped_up(model, fast_tower=True)) == ["visual.third", "visual.norm"]
    model.visual = ReadTwice().requires_grad_(False)
    with pytest.raises(ValueError, match="Expected the folded tower to compute the same"):
        sped_up(model, fast_tower=True)
    assert folded(model) == []
