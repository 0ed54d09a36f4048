"""Folds the batch norms of a frozen convolutional tower into its convolutions, in channels-last memory format."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.fast.in_place import Cache, expect, replace_forward

Pairs = list[tuple[str, str]]
"""Names in the tower of each convolution and of the batch norm that follows it."""

_expect = partial(expect, "fast_tower")


class Fold:
    """A convolution and the batch norm that follows it: y = conv(x) * s + (shift - mean * s), s = scale / std."""

    def __init__(self, conv: Any, norm: Any) -> None:
        self._conv, self._norm = conv, norm
        self.cache: Cache[tuple[Tensor, Tensor]] = Cache()

    def applies(self) -> bool:
        """True if batch norm is a fixed affine map without gradients; otherwise both modules run unchanged."""
        return not self._norm.training and not any(tensor.requires_grad for tensor in self._tensors())

    def parameters(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weight [out, in, h, w] and bias [out] of the folded convolution, recomputed if the originals change."""
        conv, norm = self._conv, self._norm

        def fold() -> tuple[Tensor, Tensor]:
            ratio = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
            before = 0.0 if conv.bias is None else conv.bias.double()
            bias = norm.bias.double() + (before - norm.running_mean.double()) * ratio
            weight = conv.weight.double() * ratio[:, None, None, None]
            return weight.to(dtype).contiguous(memory_format=torch.channels_last), bias.to(dtype)

        return self.cache.get(self._tensors(), (dtype, norm.eps), fold)

    def _tensors(self) -> list[Tensor]:
        conv, norm = self._conv, self._norm
        found = [conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        # Updates of batch norm's statistics do not change their version; `num_batches_tracked` counts them.
        return [tensor for tensor in (*found, norm.num_batches_tracked) if tensor is not None]


def check_tower(model: Any) -> Pairs:
    """Finds the pairs to fold; ValueError if the tower trains, has no pairs, or computes something else when folded."""
    tower = getattr(model, "visual", None)
    _expect("a model with a tower `visual`", isinstance(tower, nn.Module), type(model).__name__)
    assert isinstance(tower, nn.Module)
    trained = [name for name, parameter in tower.named_parameters() if parameter.requires_grad]
    _expect("a frozen tower", not trained, f"one that trains ({len(trained)} parameters: {', '.join(trained[:1])} ...)")
    folded = any(hasattr(module, "fold") for module in tower.modules())
    _expect("a model without the fast tower", not folded, "one that has it: call attach once")
    has_norms = any(type(module) is nn.BatchNorm2d for module in tower.modules())
    pairs = _agreeing_pairs(tower) if has_norms else []
    _expect("a tower with batch norms after convolutions", bool(pairs), f"{type(tower).__name__} without any")
    return pairs


def install_tower(tower: nn.Module, pairs: Pairs) -> None:
    """Makes each pair compute as one convolution while its batch norm is frozen and in eval mode."""
    for names in pairs:
        conv, norm = map(tower.get_submodule, names)
        fold = Fold(conv, norm)
        replace_forward(conv, _folded_forward, fold=fold)
        replace_forward(norm, _passing_forward, fold=fold)


def _folded_forward(conv: Any, x: Tensor) -> Tensor:
    if not conv.fold.applies():
        return nn.Conv2d.forward(conv, x)
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    result: Tensor = conv._conv_forward(x, *conv.fold.parameters(dtype))
    return result


def _passing_forward(norm: Any, x: Tensor) -> Tensor:
    return x if norm.fold.applies() else nn.BatchNorm2d.forward(norm, x)


@torch.no_grad()
def _agreeing_pairs(tower: nn.Module) -> Pairs:
    """Finds the pairs of a tower, and compares the folded tower with the original on a float64 copy."""
    trial = copy.deepcopy(tower).double().eval()
    device = next(trial.parameters()).device
    channels = next(module.in_channels for module in trial.modules() if isinstance(module, nn.Conv2d))
    size = getattr(tower, "input_resolution", 224)
    # A separate generator, so that the run's random numbers do not change.
    images = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    images = images.to(device)
    made: list[tuple[str, Tensor]] = []
    read: Pairs = []

    def see(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if type(module) is nn.Conv2d:
            made.append((name, output))
        elif type(module) is nn.BatchNorm2d and module.affine and module.running_var is not None:
            # The batch norm's input is the tensor that the convolution returned.
            read.extend((conv, name) for conv, tensor in made if tensor is inputs[0])

    hooks = [module.register_forward_hook(partial(see, name)) for name, module in trial.named_modules()]
    with torch.autocast(device.type, enabled=False):
        plain = trial(images)
        for hook in hooks:
            hook.remove()
        convs, norms = [conv for conv, _ in made], [norm for _, norm in read]
        pairs = [(conv, norm) for conv, norm in read if convs.count(conv) == 1 and norms.count(norm) == 1]
        install_tower(trial, pairs)
        off = ((trial(images) - plain).abs().max() / plain.abs().max().clamp_min(1e-300)).item()
    _expect("the folded tower to compute the same", off <= 1e-6, f"a relative difference of {off:.1e}")
    return pairs
