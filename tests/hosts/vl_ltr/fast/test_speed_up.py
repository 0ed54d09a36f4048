"""`fast_head` and `fast_tower` among the host's arguments: what they change and refuse, and copies of such a model."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mini_host import CLASSES, MiniHost
from process_groups import leave_group
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .plain_model import IMAGES, PlainBlock, assert_equal, build, sped_up

BOTH = {"fast_head": True, "fast_tower": True}
OURS = ["forward", "sentence_cache", "fold", "__getstate__", "__deepcopy__"]


def changed(model: nn.Module) -> list[str]:
    """The modules that hold something of the plug-in's."""
    return [name for name, module in model.named_modules() if any(ours in vars(module) for ours in OURS)]


def test_outputs_agree_and_names_and_values_of_the_state_and_random_numbers_stay() -> None:
    plain = build(tower=True)
    random = torch.get_rng_state()
    fast = sped_up(copy.deepcopy(plain), **BOTH)
    assert torch.equal(torch.get_rng_state(), random)
    assert_equal(fast, plain)
    before, after = plain.state_dict(), fast.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) and after[name].is_contiguous() for name in before)
    assert [name for name, _ in fast.named_modules()] == [name for name, _ in plain.named_modules()]


@pytest.mark.parametrize("fast_first", [True, False])
def test_fast_and_stock_models_load_each_others_checkpoints(fast_first: bool) -> None:
    fast, plain = sped_up(build(tower=True, seed=1), **BOTH), build(tower=True, seed=2)
    source, target = (fast, plain) if fast_first else (plain, fast)
    target(IMAGES)
    target.load_state_dict(source.state_dict())
    target.text_padding_mask = source.text_padding_mask
    assert_equal(source, target)


def forward_in_train_mode(model: Any) -> None:
    for module in model.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    model.visual(3 * IMAGES + 1)
    model.visual.eval()


def one_norm_in_train_mode(model: Any) -> None:
    model.visual.bn1.train()
    model.visual.bn1(2 + 3 * torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(1)))
    model.visual.eval()


def added_to(name: str) -> Callable[[Any], object]:
    return torch.no_grad()(lambda model: model.visual.state_dict()[name].add_(0.5))


NEW = torch.randn(5, 6, 16, generator=torch.Generator().manual_seed(9)) + 1
CHANGES: dict[str, Callable[[Any], object]] = {
    "sentences in place": torch.no_grad()(lambda model: model.text_embeddings.copy_(NEW)),
    "loaded sentences": lambda model: model.load_state_dict(model.state_dict() | {"text_embeddings": NEW}),
    "sentences in other storage": lambda model: setattr(model.text_embeddings, "data", NEW.clone()),
    "replaced sentences": lambda model: setattr(model, "text_embeddings", nn.Parameter(NEW.clone(), False)),
    **{name: added_to(name) for name in ("conv2.weight", "conv2.bias", "bn1.weight", "bn1.bias", "bn1.running_mean")},
    "train mode": forward_in_train_mode,
    "train mode under no_grad": torch.no_grad()(forward_in_train_mode),
    "train mode under inference_mode": torch.inference_mode()(forward_in_train_mode),
    "one norm in train mode": one_norm_in_train_mode,
    "update_bn": lambda model: torch.optim.swa_utils.update_bn([3 * IMAGES], model.visual) or model.visual.eval(),
    "reset": lambda model: model.visual.bn2.reset_running_stats(),
    "eps": lambda model: setattr(model.visual.bn1, "eps", 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_fast_model_keeps_follows_a_model_that_changes(change: str) -> None:
    plain = build(tower=True)
    fast = sped_up(copy.deepcopy(plain), **BOTH)
    assert_equal(fast, plain)
    before = torch.cat(plain(IMAGES), dim=1)
    for model in (plain, fast):
        CHANGES[change](model)
    assert (torch.cat(plain(IMAGES), dim=1) - before).norm() > 0.03 * before.norm()
    assert_equal(fast, plain)


def change(path: str, value: Any) -> Callable[[Any], None]:
    module, _, name = path.rpartition(".")
    return lambda model: setattr(model.get_submodule(module), name, value)


class Warmer(PlainBlock):
    """Someone's own head: the same parts, a temperature in the attention."""

    def forward(self, qx: Any, kx: Any, key_padding_mask: Any = None, logit_scale: Any = None) -> Any:
        self.attn.scale *= 2
        results = super().forward(qx, kx, key_padding_mask, logit_scale)
        self.attn.scale /= 2
        return results


MATHS = r"computes what VL-LTR's does \(image-text logits\)"
REFUSED: dict[str, Callable[[Any], Any]] = {
    "attn.num_heads=1 .* got 2": change("text_block.attn.num_heads", 2),
    "use_constant_norm=False .* got True": change("text_block.use_constant_norm", True),
    "op_type='two_branch' .* got 'cosine'": change("text_block.op_type", "cosine"),
    "frozen text_embeddings": lambda model: model.text_embeddings.requires_grad_(True),
    "two-branch head .* got PlainModel without": change("text_block", None),
    "a logit_scale": change("logit_scale", None),
    r"no dropout .* got p=0.1": change("text_block.attn.attn_drop", nn.Dropout(0.1)),
    "without bias": change("text_block.attn.wk", nn.Linear(16, 16)),
    "norm1k to be a LayerNorm": change("text_block.attn.norm1k", nn.LayerNorm(16, bias=False)),
    "norm1q to be a LayerNorm": change("text_block.attn.norm1q", nn.Identity()),
    "float32 or float64 .* got torch.float16": lambda model: model.text_block.attn.half(),
    MATHS: change("text_block", Warmer(16, num_classes=5)),
    "frozen tower .* conv2.weight": lambda model: model.visual.conv2.requires_grad_(True),
    "batch norms after convolutions": change("visual", nn.Conv2d(3, 4, 1).requires_grad_(False)),
    "a model with a tower": change("visual", None),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_model_that_would_compute_something_else_is_refused_unchanged(message: str) -> None:
    model = build(tower=True)
    REFUSED[message](model)
    with pytest.raises(ValueError, match=f"(?s)Expected .*{message}.*out of the config"):
        sped_up(model, **BOTH)
    assert changed(model) == []


@pytest.mark.parametrize("key", BOTH)
def test_other_values_than_true_and_false_and_a_second_time_are_refused(key: str) -> None:
    model = build(tower=True)
    for value in (1, "True", None):
        with pytest.raises(ValueError, match=f"Expected {key} to be True or False but got {value!r}"):
            sped_up(model, **{key: value})
    sped_up(model, **{key: True})
    with pytest.raises(ValueError, match="call attach once"):
        sped_up(model, **{key: True})


def host_with(**keys: Any) -> MiniHost:
    """A miniature host whose model takes features; attached."""
    host = MiniHost(**keys)
    host.model = build(classes=CLASSES, dim=6)
    host.optimizer = torch.optim.SGD(host.model.parameters(), lr=1e-3)
    host.attach()
    return host


def test_attach_speeds_up_without_reweight_too_but_no_evaluation() -> None:
    assert changed(host_with(fast_head=True).model) == ["text_block"]
    for keys in ({}, {"fast_head": False, "fast_tower": False}, {**BOTH, "eval": True}):
        assert changed(host_with(**keys).model) == []


def test_losses_agree_with_and_without_under_reweight() -> None:
    losses = {}
    for key in (False, True):
        host = host_with(reweight={"type": "class_volume"}, fast_head=key)
        losses[key] = [loss for epoch in range(2) for loss in host.epoch(epoch)]
        assert host.stats["reweight_alpha_max"] > 1
    assert losses[True] == pytest.approx(losses[False], abs=1e-4)
    assert losses[True] != losses[False]


def test_under_ddp_every_parameter_receives_its_gradient_and_frozen_buffers_are_not_sent(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(build(tower=True))
        assert sped_up(wrapped, fast_head=True).broadcast_buffers
        assert not sped_up(wrapped, fast_tower=True).broadcast_buffers
        for _ in range(3):  # DDP complains at the next step about a parameter that received none
            wrapped.zero_grad()
            visual, image_text = wrapped(IMAGES)
            (visual.sum() + image_text.square().sum()).backward()
        assert all(p.grad is not None for p in wrapped.parameters() if p.requires_grad)
        other = build(tower=True)
        other.register_buffer("mean", torch.zeros(3))
        assert sped_up(DistributedDataParallel(other), **BOTH).broadcast_buffers
    finally:
        leave_group()


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = build()
    with torch.no_grad():
        model.text_embeddings.add_(rank)
    sped_up(model, fast_head=True)
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    before = model(x)[1]
    torch.save((before, DistributedDataParallel(model)(x)[1]), f"{folder}/{rank}.pt")
    leave_group()


def test_sentences_that_ddp_sends_to_the_other_ranks_are_noticed(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    (first, _), (before, after) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not torch.allclose(before, first, atol=1e-2)
    assert torch.allclose(after, first, atol=1e-6)


@pytest.fixture
def plain() -> Any:
    return build(tower=True)


@pytest.fixture(params=[{"fast_head": True}, {"fast_tower": True}, BOTH], ids=["head", "tower", "both"])
def fast(request: pytest.FixtureRequest, plain: Any) -> Any:
    model = sped_up(copy.deepcopy(plain), **request.param)
    model(IMAGES)  # with what it keeps
    return model


def saved(model: Any) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    assert b"vlltr_plugin" not in file.getvalue()
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("through", [saved, lambda model: pickle.loads(pickle.dumps(model))], ids=["save", "pickle"])
def test_a_model_that_is_saved_whole_comes_back_as_the_plain_one(
    fast: Any, plain: Any, through: Callable[[Any], Any]
) -> None:
    loaded = through(fast)
    assert changed(loaded) == []
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(loaded(IMAGES), plain(IMAGES), strict=True))
    assert changed(fast) != []
    assert_equal(fast, plain)
    assert_equal(saved(sped_up(loaded, **BOTH)), plain)


def test_a_saved_model_loads_where_the_plugin_is_not(fast: Any, tmp_path: Path) -> None:
    torch.save(fast, tmp_path / "model.pth")
    name = type(fast).__module__  # where the other process finds the model's class
    script = (
        f"import sys, {name}, torch\n"
        "for module in [name for name in sys.modules if name.startswith('vlltr_plugin')]: sys.modules[module] = None\n"
        f"model = torch.load({str(tmp_path / 'model.pth')!r}, weights_only=False)\n"
        "print(model(torch.zeros(1, 3, 8, 8))[1].shape)"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([1, 5])\n", done.stderr


def test_a_deep_copy_as_an_ema_makes_is_fast_and_computes_with_its_own_numbers(fast: Any, plain: Any) -> None:
    ema, other = copy.deepcopy(fast), copy.deepcopy(plain)
    assert changed(ema) == changed(fast)
    for model in (ema, other):
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                parameter.mul_(1.1)
    assert_equal(ema, other)
    assert_equal(fast, plain)
    assert_equal(saved(ema), other)


def test_shallow_copies_and_replicas_of_data_parallel_compute_plainly(fast: Any) -> None:
    for module in [module for module in fast.modules() if "forward" in vars(module)]:
        for twin in (copy.copy(module), module._replicate_for_data_parallel()):
            assert not any(ours in vars(twin) for ours in OURS)
            assert twin.forward.__func__ is type(module).forward
        assert "forward" in vars(module)
