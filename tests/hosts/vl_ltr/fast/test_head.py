"""The fast head gives the plain head's outputs and gradients, also when the sentences change."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.fast import head

from .plain_model import build, sped_up


def outputs_and_gradients(model: Any, x: Tensor) -> dict[str, Tensor]:
    """Outputs, and gradients of the sum of both branches' logits times fixed random numbers."""
    x = x.clone().requires_grad_(True)
    model.zero_grad()
    visual, image_text = model(x)
    generator = torch.Generator().manual_seed(1)
    for output in (visual, image_text):
        cotangent = torch.randn(output.shape, generator=generator, dtype=torch.double).to(output.dtype)
        output.backward(cotangent, retain_graph=True)
    gradients = {name: parameter.grad for name, parameter in model.text_block.named_parameters()}
    return {"visual": visual.detach(), "image_text": image_text.detach(), "x": x.grad, **gradients}


def fast(model: Any) -> Any:
    return sped_up(copy.deepcopy(model), fast_head=True)


@pytest.mark.parametrize("v_detach", [False, True])
@pytest.mark.parametrize("shape", [(5, 6, 16, 3), (1, 1, 4, 1), (9, 3, 32, 7)])
def test_in_float64_outputs_and_gradients_are_the_plain_heads(
    block: type[nn.Module], shape: tuple[int, ...], v_detach: bool
) -> None:
    classes, length, dim, batch = shape
    model = build(block, classes, length, dim, v_detach=v_detach).double()
    x = torch.randn(batch, dim, dtype=torch.double)
    theirs, ours = outputs_and_gradients(model, x), outputs_and_gradients(fast(model), x)
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).abs().max() <= 1e-10 * tensor.abs().max().clamp_min(1), name
    assert (ours["attn.norm1k.bias"] == 0).all()


@pytest.mark.parametrize("v_detach", [False, True])
@pytest.mark.parametrize("shared", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("shape", [(40, 8, 64, 6), (7, 32, 256, 16), (120, 3, 32, 3)])
def test_in_float32_the_error_is_at_most_twice_the_plain_heads(
    block: type[nn.Module], shape: tuple[int, ...], shared: float, v_detach: bool
) -> None:
    classes, length, dim, batch = shape
    errors: dict[str, list[Tensor]] = {"plain": [], "fast": []}
    for seed in range(4):
        model = build(block, classes, length, dim, seed=seed, shared=shared, v_detach=v_detach)
        x = torch.randn(batch, dim)
        exact = outputs_and_gradients(copy.deepcopy(model).double(), x.double())
        for kind, variant in (("plain", model), ("fast", fast(model))):
            found = outputs_and_gradients(variant, x)
            names = list(found)
            errors[kind].append(torch.stack([(found[name] - exact[name]).norm() for name in names]))
    plain, ours = (torch.stack(errors[kind]).square().mean(dim=0).sqrt() for kind in ("plain", "fast"))
    most = 2 if torch.__version__ >= "2.8" else 3  # 2.3 was seen with torch 2.4
    for name, their, our in zip(names, plain, ours, strict=True):
        assert our <= most * their, f"{name}: {our:.2e} against the plain head's {their:.2e}"


def test_features_of_a_frozen_tower_give_the_same_gradients_of_the_parameters(block: type[nn.Module]) -> None:
    model = fast(build(block).double())
    x = torch.randn(3, 16, dtype=torch.double)
    gradients = []
    for features in (x.clone().requires_grad_(True), x):
        model.zero_grad()
        sum(output.square().sum() for output in model(features)).backward()
        gradients.append([parameter.grad for parameter in model.text_block.parameters()])
    for with_features, without in zip(*gradients, strict=True):
        assert torch.allclose(with_features, without, rtol=1e-12, atol=1e-12)


def test_a_query_in_bfloat16_autocast_gives_the_plain_heads_types_and_no_larger_error(block: type[nn.Module]) -> None:
    model = build(block, 30, 8, 64)
    x = torch.randn(6, 64)
    exact = outputs_and_gradients(copy.deepcopy(model).double(), x.double())
    found = {}
    for kind, variant in (("plain", model), ("fast", fast(model))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found[kind] = outputs_and_gradients(variant, x.bfloat16())
    for name, tensor in found["plain"].items():
        assert found["fast"][name].dtype == tensor.dtype
        ours, theirs = ((found[kind][name].double() - exact[name]).norm() for kind in ("fast", "plain"))
        assert ours <= 1.2 * theirs + 1e-12, name


def test_sentences_under_the_mask_do_not_count_and_without_a_mask_all_do(block: type[nn.Module]) -> None:
    plain = build(block).double()
    model, x = fast(plain), torch.randn(3, 16, dtype=torch.double)
    before = model(x)[1]
    with torch.no_grad():
        model.text_embeddings[model.text_padding_mask] = 7.0
    assert torch.allclose(model(x)[1], before, atol=1e-12)
    plain.text_padding_mask = None
    assert torch.allclose(fast(plain)(x)[1], plain(x)[1], atol=1e-12)


def test_nothing_of_the_size_classes_by_batch_by_width_is_made(block: type[nn.Module]) -> None:
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            outputs = result if isinstance(result, tuple | list) else [result]
            sizes.extend(output.numel() for output in outputs if isinstance(output, Tensor))
            return result

    classes, length, dim, batch = 50, 4, 64, 20
    model = fast(build(block, classes, length, dim))
    with Watch():
        outputs_and_gradients(model, torch.randn(batch, dim))
    assert max(sizes) < batch * classes * dim


def test_a_cast_to_another_type_and_inference_mode_leave_training_as_before() -> None:
    plain, x = build(), torch.randn(3, 16)
    model, expected = fast(plain), plain(x)[1]
    with torch.inference_mode():
        model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(model(x.bfloat16())[1].float(), expected, atol=0.2)
    assert torch.allclose(model(x)[1], expected, atol=1e-5)
    model(x)[1].sum().backward()


def test_unchanged_sentences_are_read_for_statistics_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = fast(build()), torch.randn(3, 16)
    expected = model(x)[1]
    monkeypatch.delattr(head, "sentence_statistics")
    for training in (True, False):
        assert torch.equal(model.train(training)(x)[1], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sentences_that_train_or_are_not_the_models_are_refused(dtype: torch.dtype) -> None:
    model, x = fast(build()), torch.randn(3, 16, dtype=dtype)
    sentences = (1.1 * model.text_embeddings).to(dtype)
    with pytest.raises(ValueError, match="the model's text_embeddings"):
        model.text_block(x[:, None], sentences, logit_scale=model.logit_scale)
    model.text_embeddings.requires_grad_(True)
    with pytest.raises(ValueError, match="frozen text_embeddings"):
        model(x)
