r"""The two-branch head of VL-LTR's stage two: the same result with less computation.

For an image feature x [d] and a class with sentences e_1..e_S [S, d], upstream computes at each step

    n_s = g * (e_s - mean(e_s)) / std(e_s) + b                  (LayerNorm of each sentence)
    a = softmax_s(scale * (W_q LN(x)) . (W_k n_s)),   v = sum_s a_s e_s,   logit = exp(logit_scale) * cos(x, v)

at C*S*d*d multiply-adds for the keys, twice that for their gradient, and tensors [C, S, d] and [B, C, d]. Here:

- Projection and scale g move to the query: (W_q LN(x)) . (W_k (g * n)) = u . n with u = g * (W_k^T W_q LN(x)), [B, d].
- Subtracting mean(e_s) is the same as subtracting the mean of u, and 1 / std(e_s) is known beforehand.
- The shift b adds the same to all scores of a class, which softmax does not see; its gradient is 0.
- cos(x, v) needs only v.x = sum_s a_s (e_s.x) and |v|^2 = a^T (E E^T) a, with the Gram matrices E E^T known beforehand.

All that is left of size d is one product of u and x / |x| with the sentences: 2*B*C*S*d multiply-adds, and as many
for the gradient. The largest tensors are [C, S, 2 * B]; the cache is [C, S, S + 1].
"""

import copy
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.fast.in_place import Cache, expect

MODULES = ("attn.norm1q", "attn.norm1k", "attn.wq", "attn.wk", "visual_fc")
FULL_PRECISION = (["torch.float32"], ["torch.float64"])
CLASSES_AT_ONCE = 64  # of 64 sentences x 1024: 32 MiB in float64
_expect = partial(expect, "fast_head")

SentenceStatistics = tuple[Tensor, Tensor]
"""Values that depend on the sentences only: 1 / std of each [C, S], and the Gram matrix of each class [C, S, S]."""


@torch.no_grad()
def sentence_statistics(sentences: Tensor, eps: float, dtype: torch.dtype) -> SentenceStatistics:
    """Computes them in float64, a few classes at a time."""
    count, length, _ = sentences.shape
    rstd = sentences.new_empty((count, length), dtype=dtype)
    gram = sentences.new_empty((count, length, length), dtype=dtype)
    with torch.autocast(sentences.device.type, enabled=False):
        for start in range(0, count, CLASSES_AT_ONCE):
            some = slice(start, start + CLASSES_AT_ONCE)
            chunk = sentences[some].double()
            rstd[some] = (chunk.var(dim=-1, correction=0) + eps).rsqrt()
            gram[some] = chunk @ chunk.mT
    return rstd, gram


class SentenceCache:
    """The statistics of a model's `text_embeddings`, computed when first needed and again if the embeddings change.

    Under autocast the host casts the embeddings to the query's type at every step; the statistics are those of the
    cast sentences, one set for each type.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.cache: Cache[SentenceStatistics] = Cache()

    def statistics(self, sentences: Tensor, eps: float, dtype: torch.dtype) -> SentenceStatistics:
        """The statistics of the sentences that the model passes to its head; ValueError if they are not frozen."""
        source: Tensor = self._model.text_embeddings
        _expect("frozen text_embeddings", not source.requires_grad, "trained ones (requires_grad=True)")
        recast = sentences.dtype != source.dtype
        expect_same = partial(_expect, "the head's sentences to be the model's text_embeddings", came="other ones")
        expect_same(sentences.shape == source.shape and (recast or sentences.data_ptr() == source.data_ptr()))

        def compute() -> SentenceStatistics:
            # Comparing values waits for the device: a cast copy is only compared when its statistics are new, and in
            # parts, without a second copy of all of it.
            pairs = zip(sentences.split(CLASSES_AT_ONCE), source.split(CLASSES_AT_ONCE), strict=True)
            expect_same(not recast or all(torch.equal(ours, theirs.to(ours.dtype)) for ours, theirs in pairs))
            return sentence_statistics(sentences, eps, dtype)

        return self.cache.get([source], sentences.dtype, compute)


def fast_forward(
    block: Any, qx: Tensor, kx: Tensor, key_padding_mask: Tensor | None = None, logit_scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Replaces the block's `forward`; ValueError if `kx` is not the model's frozen sentences."""
    _expect("a logit_scale", logit_scale is not None, "None")
    assert logit_scale is not None
    statistics = block.sentence_cache.statistics(kx, block.attn.norm1k.eps, block.attn.wk.weight.dtype)
    return two_branch_logits(block, qx.squeeze(1), kx, statistics, key_padding_mask, logit_scale)


def two_branch_logits(
    block: Any, x: Tensor, sentences: Tensor, statistics: SentenceStatistics, padding: Tensor | None, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Both branches' logits [B, C] of the features `x` [B, d]; the arguments as in `fast_forward`."""
    visual = cast(Tensor, block.visual_fc(x))
    attn, (rstd, gram) = block.attn, statistics
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(attn.wk.weight.dtype)
        query = attn.wq(attn.norm1q(x)) @ attn.wk.weight
        query = query * attn.norm1k.weight + 0 * attn.norm1k.bias  # DDP needs a gradient of the shift, which is 0
        query = query - query.mean(dim=-1, keepdim=True)
        products = Products.apply(query, F.normalize(x, dim=-1), sentences)  # type: ignore[no-untyped-call]
        scores, along = products.to(x.dtype).split(len(x), dim=-1)

        shift = torch.zeros_like(rstd)
        if padding is not None:
            shift = shift.masked_fill(padding, float("-inf"))
        attention = torch.addcmul(shift.unsqueeze(-1), scores, rstd.unsqueeze(-1), value=attn.scale).softmax(dim=1)

        # |v|: with v_detach the host divides by the bare length, else F.normalize has a floor, squared here.
        weights, floor = (attention.detach(), 0.0) if block.v_detach else (attention, 1e-24)
        length = (weights * (gram @ weights)).sum(dim=1).clamp_min(floor).sqrt()
        image_text = ((attention * along).sum(dim=1) / length * scale.exp()).T.contiguous()
    return visual, image_text.to(visual.dtype)


class Products(torch.autograd.Function):
    """Inner products [C, S, 2 * B] of frozen sentences with both queries, in one pass over the sentences.

    Autograd would compute gradients for both queries even if the features of a frozen tower need none.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, unit: Tensor, sentences: Tensor) -> Tensor:
        """Multiplies `query` and `unit`, both [B, d], with `sentences` [C, S, d], in the sentences' type."""
        ctx.save_for_backward(sentences)
        ctx.dtype = query.dtype
        return F.linear(sentences, torch.cat((query, unit)).to(sentences.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of `query` and, if needed, of `unit`."""
        (sentences,), (gradient,) = ctx.saved_tensors, gradients
        batch = gradient.shape[-1] // 2
        if not ctx.needs_input_grad[1]:
            gradient = gradient[..., :batch]
        both = (gradient.flatten(0, 1).T @ sentences.flatten(0, 1)).to(ctx.dtype)
        return both[:batch], both[batch:] if ctx.needs_input_grad[1] else None, None


def check_head(model: Any) -> None:
    """Raises ValueError if `fast_forward` would not compute exactly what the model's head does."""
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


def _check_numbers(block: nn.Module, dim: int) -> None:
    """Compares outputs and gradients with those of a float64 copy of the block, on random input.

    A modified block (a temperature, another mask) can have the same parts and compute something else.
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
