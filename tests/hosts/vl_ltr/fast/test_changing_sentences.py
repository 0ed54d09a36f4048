"""What is remembered of the sentences follows them when they change."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.fast import head as sentences_module
from vlltr_plugin.hosts.vl_ltr.fast.head import install_head

from .plain_model import PlainBlock, build


class Pair:
    """A plain model and a fast one that has run once, so that it remembers the sentences."""

    def __init__(self) -> None:
        self.plain = build()
        self.fast = copy.deepcopy(self.plain)
        install_head(self.fast)
        self.x = torch.randn(3, 16)
        self.assert_equal()

    def assert_equal(self) -> None:
        assert torch.allclose(self.fast(self.x)[1], self.plain(self.x)[1], atol=1e-5)


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.fixture
def new() -> Tensor:
    return torch.randn(5, 6, 16, generator=torch.Generator().manual_seed(9)) + 1


def test_written_in_place(pair: Pair, new: Tensor) -> None:
    for model in (pair.plain, pair.fast):
        with torch.no_grad():
            model.text_embeddings.copy_(new)
    pair.assert_equal()


def test_loaded_from_a_checkpoint(pair: Pair, new: Tensor) -> None:
    state = pair.plain.state_dict() | {"text_embeddings": new}
    for model in (pair.plain, pair.fast):
        model.load_state_dict(state)
    pair.assert_equal()


def test_given_other_storage(pair: Pair, new: Tensor) -> None:
    for model in (pair.plain, pair.fast):
        model.text_embeddings.data = new.clone()
    pair.assert_equal()


def test_replaced_by_another_parameter(pair: Pair, new: Tensor) -> None:
    for model in (pair.plain, pair.fast):
        model.text_embeddings = nn.Parameter(new.clone(), requires_grad=False)
    pair.assert_equal()


def test_a_deep_copy_follows_its_own_sentences_and_parameters(pair: Pair, new: Tensor) -> None:
    plain, fast = copy.deepcopy(pair.plain), copy.deepcopy(pair.fast)
    for model in (plain, fast):
        with torch.no_grad():
            model.text_embeddings.copy_(new)
            model.text_block.attn.wk.weight.mul_(2)
    assert torch.allclose(fast(pair.x)[1], plain(pair.x)[1], atol=1e-5)
    pair.assert_equal()


def test_cast_to_another_type_and_back(pair: Pair) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pair.fast(pair.x.bfloat16())[1]
    assert torch.allclose(half.float(), pair.plain(pair.x)[1], atol=0.2)
    pair.assert_equal()


def test_a_run_in_inference_mode_leaves_training_possible() -> None:
    model = build()
    install_head(model)
    with torch.inference_mode():
        model(torch.randn(2, 16))
    model(torch.randn(2, 16))[1].sum().backward()


def test_unchanged_sentences_are_read_for_statistics_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(sentences_module, "sentence_statistics", fail)
    pair.fast.train()
    pair.assert_equal()
    pair.fast.eval()
    pair.assert_equal()


def test_sentences_that_train_are_refused(pair: Pair) -> None:
    pair.fast.text_embeddings.requires_grad_(True)
    with pytest.raises(ValueError, match="frozen text_embeddings"):
        pair.fast(pair.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_sentences_than_the_models_are_refused(dtype: torch.dtype) -> None:
    model = build(PlainBlock)
    install_head(model)
    x, sentences = torch.randn(2, 1, 16), (1.1 * model.text_embeddings).to(dtype)
    with pytest.raises(ValueError, match="the model's text_embeddings"):
        model.text_block(x.to(dtype), sentences, logit_scale=model.logit_scale)
