"""`fast_head` and `fast_tower` among the host's arguments: what they change, and what they refuse."""

import argparse
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mini_host import CLASSES, MiniHost
from process_groups import leave_group
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vlltr_plugin.hosts.vl_ltr.fast import speed_up

from .plain_model import PlainBlock, build

BOTH = {"fast_head": True, "fast_tower": True}


def asked(**keys: Any) -> argparse.Namespace:
    return argparse.Namespace(**keys)


def patched(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    leave_group()


@pytest.mark.parametrize("keys", [{}, {"fast_head": False, "fast_tower": False}])
def test_without_the_keys_nothing_is_touched(keys: dict[str, Any]) -> None:
    model = build(tower=True)
    speed_up(asked(**keys), model)
    assert patched(model) == []


def test_outputs_agree_and_names_and_values_of_the_state_stay() -> None:
    plain = build(tower=True)
    fast = copy.deepcopy(plain)
    speed_up(asked(**BOTH), fast)
    images = torch.randn(4, 3, 8, 8)
    for theirs, ours in zip(plain(images), fast(images), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    before, after = plain.state_dict(), fast.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) and after[name].is_contiguous() for name in before)
    assert [name for name, _ in fast.named_modules()] == [name for name, _ in plain.named_modules()]


@pytest.mark.parametrize("fast_first", [True, False])
def test_a_checkpoint_goes_both_ways(fast_first: bool) -> None:
    fast, plain = build(tower=True, seed=1), build(tower=True, seed=2)
    speed_up(asked(**BOTH), fast)
    source, target = (fast, plain) if fast_first else (plain, fast)
    images = torch.randn(4, 3, 8, 8)
    target(images)
    target.load_state_dict(source.state_dict())
    target.text_padding_mask = source.text_padding_mask
    for theirs, ours in zip(source(images), target(images), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_runs_random_numbers_stay_as_they_are() -> None:
    model = build(tower=True)
    before = torch.get_rng_state()
    speed_up(asked(**BOTH), model)
    assert torch.equal(torch.get_rng_state(), before)


def change(path: str, value: Any) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            model = getattr(model, step)
        setattr(model, last, value)

    return apply


class Warmer(PlainBlock):
    """Someone's own head: the same parts, a temperature in the attention."""

    def forward(self, qx: Any, kx: Any, key_padding_mask: Any = None, logit_scale: Any = None) -> Any:
        self.attn.scale *= 2
        results = super().forward(qx, kx, key_padding_mask, logit_scale)
        self.attn.scale /= 2
        return results


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "heads": (change("text_block.attn.num_heads", 2), "attn.num_heads=1 .* got 2"),
    "constant norm": (change("text_block.use_constant_norm", True), "use_constant_norm=False .* got True"),
    "op_type": (change("text_block.op_type", "cosine"), "op_type='two_branch' .* got 'cosine'"),
    "trained sentences": (lambda model: model.text_embeddings.requires_grad_(True), "frozen text_embeddings"),
    "no head": (change("text_block", None), "two-branch head .* got PlainModel without"),
    "no scale": (change("logit_scale", None), "a logit_scale"),
    "dropout": (change("text_block.attn.attn_drop", nn.Dropout(0.1)), r"no dropout .* got p=0.1"),
    "key bias": (change("text_block.attn.wk", nn.Linear(16, 16)), "without bias"),
    "norm": (change("text_block.attn.norm1k", nn.LayerNorm(16, bias=False)), "norm1k to be a LayerNorm"),
    "norm's class": (change("text_block.attn.norm1q", nn.Identity()), "norm1q to be a LayerNorm"),
    "half": (lambda model: model.text_block.attn.half(), "float32 or float64 .* got torch.float16"),
    "own maths": (
        change("text_block", Warmer(16, num_classes=5)),
        r"computes what VL-LTR's does \(image-text logits\)",
    ),
    "trained tower": (lambda model: model.visual.conv2.requires_grad_(True), "frozen tower .* conv2.weight"),
    "no batch norm": (change("visual", nn.Conv2d(3, 4, 1).requires_grad_(False)), "batch norms after convolutions"),
    "no tower": (change("visual", None), "a model with a tower"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_not_compute_the_same_is_refused_before_anything_changes(case: str) -> None:
    apply, message = REFUSED[case]
    model = build(tower=True)
    apply(model)
    with pytest.raises(ValueError, match=f"(?s)Expected .*{message}.*out of the config"):
        speed_up(asked(**BOTH), model)
    assert patched(model) == []
    assert not hasattr(model.text_block, "sentence_cache")


@pytest.mark.parametrize("key", BOTH)
@pytest.mark.parametrize("value", [1, "True", None])
def test_other_values_than_true_and_false_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected {key} to be True or False but got {value!r}"):
        speed_up(asked(**{key: value}), build(tower=True))


@pytest.mark.parametrize("key", BOTH)
def test_a_second_time_is_refused(key: str) -> None:
    model = build(tower=True)
    speed_up(asked(**{key: True}), model)
    with pytest.raises(ValueError, match="call attach once"):
        speed_up(asked(**{key: True}), model)


class TestAttach:
    """Through `vlltr_plugin.attach`, as the host calls it."""

    def host(self, **keys: Any) -> MiniHost:
        host = MiniHost(**keys)
        host.model = build(classes=CLASSES, dim=6)  # features go in
        host.optimizer = torch.optim.SGD(host.model.parameters(), lr=1e-3)
        return host

    def test_works_without_reweight(self) -> None:
        host = self.host(fast_head=True)
        host.attach()
        assert patched(host.model) == ["text_block"]

    def test_losses_agree_with_and_without_under_reweight(self) -> None:
        losses = {}
        for key in (False, True):
            host = self.host(reweight={"type": "class_volume"}, fast_head=key)
            host.attach()
            losses[key] = [loss for epoch in range(2) for loss in host.epoch(epoch)]
            assert host.stats["reweight_alpha_max"] > 1
        assert losses[True] == pytest.approx(losses[False], abs=1e-4)
        assert losses[True] != losses[False]

    def test_an_evaluation_runs_the_hosts_own_code(self) -> None:
        host = self.host(fast_head=True, fast_tower=True, eval=True)
        host.attach()
        assert patched(host.model) == []


@pytest.mark.usefixtures("one_process")
class TestDistributed:
    """With DDP around the model before the keys are read."""

    def test_every_parameter_receives_its_gradient_at_every_step(self) -> None:
        model = build(tower=True)
        model.text_embeddings.requires_grad_(False)
        wrapped = DistributedDataParallel(model)
        speed_up(asked(**BOTH), wrapped)
        for _ in range(3):  # DDP complains at the next step about a parameter that received none
            model.zero_grad()
            visual, image_text = wrapped(torch.randn(4, 3, 8, 8))
            (visual.sum() + image_text.square().sum()).backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    def test_buffers_of_the_frozen_tower_are_not_broadcast(self) -> None:
        wrapped = DistributedDataParallel(build(tower=True))
        speed_up(asked(fast_head=True), wrapped)
        assert wrapped.broadcast_buffers
        speed_up(asked(fast_tower=True), wrapped)
        assert not wrapped.broadcast_buffers

    def test_other_buffers_are_still_broadcast(self) -> None:
        model = build(tower=True)
        model.register_buffer("mean", torch.zeros(3))
        wrapped = DistributedDataParallel(model)
        speed_up(asked(**BOTH), wrapped)
        assert wrapped.broadcast_buffers


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = build()
    with torch.no_grad():
        model.text_embeddings.add_(rank)
    speed_up(asked(fast_head=True), model)
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    before = model(x)[1]
    torch.save((before, DistributedDataParallel(model)(x)[1]), f"{folder}/{rank}.pt")
    leave_group()


def test_sentences_that_ddp_sends_to_the_other_ranks_are_noticed(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    (first, _), (before, after) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not torch.allclose(before, first, atol=1e-2)
    assert torch.allclose(after, first, atol=1e-6)
