"""Is this the head that `fast_forward` computes? Structure first, then numbers, before anything is changed."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.fast.head import sentence_statistics, two_branch_logits

LEAVE = "take fast_head out of the config"
MODULES = ("attn.norm1q", "attn.norm1k", "attn.wq", "attn.wk", "visual_fc")
FULL_PRECISION = (["torch.float32"], ["torch.float64"])


def check_head(model: Any) -> None:
    """Refuses every model whose head `fast_forward` would not replace exactly.

    Raises:
        ValueError: naming what was expected and what came.
    """
    block: Any = getattr(model, "text_block", None)
    missing = [f"text_block.{name}" for name in MODULES if not isinstance(_part(block, name), nn.Module)]
    if not isinstance(getattr(model, "text_embeddings", None), Tensor):
        missing.insert(0, "text_embeddings")
    _expect("VL-LTR's two-branch head", not missing, f"{type(model).__name__} without {', '.join(missing)}")
    _expect("a model without the fast head", not hasattr(block, "sentence_cache"), "one that has it: call attach once")
    for name, wanted in (("op_type", "two_branch"), ("use_constant_norm", False), ("attn.num_heads", 1)):
        came = _part(block, name)
        _expect(f"{name}={wanted!r}", came == wanted, repr(came))
    attn, dim = block.attn, model.text_embeddings.shape[-1]
    dropout = _part(attn, "attn_drop.p")
    _expect("no dropout on the attention", dropout == 0, f"p={dropout}")
    _expect("v_detach to be True or False", isinstance(_part(block, "v_detach"), bool), "neither")
    _expect("a key projection without bias", attn.wk.bias is None, "one with a bias")
    for name in ("norm1q", "norm1k"):
        norm = getattr(attn, name)
        affine = type(norm) is nn.LayerNorm and norm.normalized_shape == (dim,) and norm.bias is not None
        _expect(f"{name} to be a LayerNorm({dim}) with scale and shift", affine, f"{norm}")
    dtypes = sorted({str(parameter.dtype) for parameter in attn.parameters()})
    _expect("attention parameters of one type, float32 or float64", dtypes in FULL_PRECISION, ", ".join(dtypes))
    _expect("frozen text_embeddings", not model.text_embeddings.requires_grad, "trained ones (requires_grad=True)")
    scale = getattr(model, "logit_scale", None)
    _expect("a logit_scale (use_norm=True)", isinstance(scale, Tensor), f"{scale!r}")
    _check_numbers(block, dim)


def _part(module: Any, name: str) -> Any:
    for step in name.split("."):
        module = getattr(module, step, None)
    return module


def _expect(what: str, holds: bool, came: str) -> None:
    if not holds:
        raise ValueError(f"Expected {what} with fast_head=True but got {came}: {LEAVE}.")


def _check_numbers(block: nn.Module, dim: int) -> None:
    """Compares outputs and gradients with the block's own, in float64, on a copy of it and on random input.

    Someone's modified block (a temperature, another mask) has the same parts and gives other numbers.
    """
    device = next(block.parameters()).device
    generator = torch.Generator().manual_seed(0)  # the run's own random numbers stay as they are

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.double).to(device)

    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        trial: Any = copy.deepcopy(block).double().requires_grad_(True)
        x, sentences, scale = normal(2, dim).requires_grad_(True), normal(3, 1, dim) + normal(3, 4, dim), normal()
        padding = (torch.arange(4) >= torch.tensor([[1], [2], [4]])).to(device)
        statistics = sentence_statistics(sentences, trial.attn.norm1k.eps, torch.double)
        theirs = trial(x.unsqueeze(1), sentences, key_padding_mask=padding, logit_scale=scale)
        ours = two_branch_logits(trial, x, sentences, statistics, padding, scale)
        cotangents = [normal(*output.shape) for output in ours]
        wanted = {"x": x, **dict(trial.named_parameters())}
        gradients = [
            torch.autograd.grad(outputs, list(wanted.values()), cotangents, allow_unused=True, materialize_grads=True)
            for outputs in (theirs, ours)
        ]
    names = ["visual logits", "image-text logits", *(f"gradient of {name}" for name in wanted)]
    for name, their, our in zip(names, (*theirs, *gradients[0]), (*ours, *gradients[1]), strict=True):
        off = (their - our).abs().max().item()
        agree = off <= 1e-6 * their.abs().max().item() + 1e-12
        _expect(f"a head that computes what VL-LTR's does ({name})", agree, f"a difference of {off:.1e}")
