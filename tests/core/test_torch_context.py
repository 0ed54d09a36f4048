"""Recomputation, torch.func, inference mode, and tensors without data."""

import copy
import warnings
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from epochs import EVERY_WEIGHTING, end_epochs, mixture, normal, per_sample
from torch import nn
from torch.utils.checkpoint import checkpoint

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss
from vlltr_plugin.core.frequency import FrequencyWeighting

COUNTS = [40, 20, 9, 2]


class OwnFunction(torch.autograd.Function):
    """Unpacks what it saved in Python, inside backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.cos()


class OwnCheckpoint(torch.autograd.Function):
    """Reentrant checkpointing as others write it: the second pass, in backward, is the first with gradients."""

    @staticmethod
    def forward(ctx, body, x, targets):
        ctx.body, ctx.targets = body, targets
        ctx.save_for_backward(x)
        return body(x, targets)

    @staticmethod
    def backward(ctx, grad):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            loss = ctx.body(x, ctx.targets)
        torch.autograd.backward(loss, grad)
        return None, x.grad, None


def again(body, reentrant=False):
    """The body, whose activations are recomputed."""
    return lambda x, targets: 1.0 * checkpoint(body, x, targets, use_reentrant=reentrant)


def unpacked(body):
    return lambda x, targets: body(OwnFunction.apply(x), targets) + 0 * OwnFunction.apply(x).sum()


WAYS = {
    "non-reentrant": again,
    "reentrant": lambda body: again(body, True),
    "non-reentrant twice": lambda body: again(again(body)),
    "non-reentrant in reentrant": lambda body: again(again(body), True),
    "reentrant in non-reentrant": lambda body: again(again(body, True)),
    "reentrant twice": lambda body: again(again(body, True), True),
    "unpacked by an autograd function": lambda body: again(unpacked(body)),
    "another's": lambda body: lambda x, targets: OwnCheckpoint.apply(body, x, targets),
}


class Model(nn.Module):
    """The criterion inside the model, where all of it is run again."""

    def __init__(self, made, variant):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 4)
        self.criterion = made(ClassVolume(COUNTS, variant=variant))

    def body(self, x, targets):
        return self.criterion(self.last(self.first(x).tanh()), targets) + 0.0


def weights_after_two_epochs(way, made, variant):
    model = Model(made, variant)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        for _ in range(3):
            x = torch.rand(40, 5, generator=generator).requires_grad_()
            way(model.body)(x, torch.randint(4, (40,), generator=generator)).backward()
        model.criterion.end_epoch()
    return model.criterion.weighting.weights, model.criterion.drawn


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variant", ["dv", "pv"])
def test_checkpointing_gives_the_weights_of_a_run_without_it(way, made, variant):
    expected = weights_after_two_epochs(lambda body: unpacked(body) if "unpacked" in way else body, made, variant)
    found = weights_after_two_epochs(WAYS[way], made, variant)
    assert not torch.equal(expected[0], torch.ones(4))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_without_the_id_of_the_backward_pass_every_pass_counts(monkeypatch):
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    criterion(torch.randn(4, 4, requires_grad=True), torch.arange(4)).backward()
    assert criterion.weighting._moments.mass.sum() == 4


def test_losses_that_a_closure_computes_again_do_not_count():
    """What `observe` documents for L-BFGS."""
    logits, targets = torch.randn(40, 4, requires_grad=True), torch.arange(40) % 4
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    criterion.observe(logits, targets)
    for _ in range(5):
        criterion.losses(logits, targets).mean().backward()
    assert criterion.weighting._moments.mass.tolist() == [10] * 4


KINDS = {
    "softmax": ReweightedLoss,
    "focal": partial(ReweightedLoss, base="focal"),
    "callable": partial(ReweightedLoss, base=per_sample),
    "margins": LogitAdjustedLoss,
}


def func_batch(soft, smoothing):
    labels = torch.arange(9) % 3
    return normal(9, 3), mixture(labels, 3, smoothing) if soft else labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighting", [InverseFrequency, ClassVolume])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"smoothing": 0.1}], ids=str)
def test_gradients_are_autograd_s_and_nothing_is_observed(kind, soft, weighting, training, options):
    criterion = KINDS[kind](weighting([90, 30, 5]), **options).train(training)
    logits, targets = func_batch(soft, options.get("smoothing", 0.0))
    leaf = logits.clone().requires_grad_()
    losses = criterion.losses if training else criterion  # in eval mode the loss has no weights
    losses(leaf, targets, **({} if training else {"reduction": "sum"})).sum().backward()
    of_sum = torch.func.grad(lambda z: criterion(z, targets, reduction="sum"))(logits)
    torch.testing.assert_close(of_sum, leaf.grad)
    each = torch.func.vmap(torch.func.grad(lambda z, t: criterion(z[None], t[None])))(logits, targets)
    torch.testing.assert_close(each, leaf.grad)
    assert criterion._checks.drawn.sum() == 0
    assert getattr(criterion.weighting, "_moments", None) is None


def test_a_batch_that_does_not_fit_is_refused_inside_grad_too():
    criterion = ReweightedLoss(InverseFrequency([90, 30, 5]), smoothing=0.1)
    logits, mixed = func_batch(True, 0.0)
    for targets in (mixed, torch.full((9,), 3)):
        with pytest.raises(ValueError, match="Expected"):
            torch.func.grad(lambda z, targets=targets: criterion(z, targets))(logits)


def step(criterion, soft=False, more=()):
    """On `meta` every look at the data raises."""
    logits = torch.randn(6, 3, *more, device="meta", requires_grad=True)
    targets = torch.rand(6, 3, *more) if soft else torch.zeros(6, *more, dtype=torch.int64)
    criterion(logits, targets.to("meta")).backward()
    assert logits.grad.shape == logits.shape
    assert criterion.losses(logits, targets.to("meta")).shape == (6, *more)


@pytest.mark.parametrize(("variant", "features"), [("dv", None), ("bv", None), ("pv", None), ("dv", 2), ("bv", 2)])
@pytest.mark.parametrize("assign", ["dominant", "mass"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_step_of_class_volume_does_not_wait_for_the_device(variant, features, assign, soft):
    criterion = ReweightedLoss(ClassVolume([5, 4, 3], variant=variant, features=features, assign=assign), smoothing=0.1)
    step(criterion.to("meta"), soft)
    assert criterion.weighting._moments.second.device.type == "meta"


def test_weights_are_moved_once_and_not_in_every_step(monkeypatch):
    criterion = ReweightedLoss(InverseFrequency([5, 4, 3])).to("meta")
    monkeypatch.setattr(criterion.weighting, "_apply", lambda *args: pytest.fail("moved again"))
    step(criterion)


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("weighting", [ClassVolume, InverseFrequency])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("more", [(), (4,)], ids=str)
@pytest.mark.parametrize("options", [{}, {"ignore_index": 9}], ids=str)
def test_logits_on_meta_leave_the_weighting_s_numbers_where_they_are(made, weighting, training, soft, more, options):
    told, spared = (made(weighting([30, 20, 10]), smoothing=0.1, **options) for _ in range(2))
    for _ in range(2):
        for criterion in (told, spared):
            criterion(normal(30, 3, requires_grad=True), torch.arange(30) % 3)
        step(told.train(training), soft, more)
        told.train()
        end_epochs(told, spared)
    assert torch.equal(told.weighting.weights, spared.weighting.weights)
    assert torch.equal(told.drawn, spared.drawn)


def test_logits_on_meta_are_refused_as_something_to_observe():
    with pytest.raises(ValueError, match="without data"):
        ClassVolume([5, 4, 3]).observe(torch.randn(6, 3, device="meta"), torch.zeros(6, dtype=torch.int64))


PARTS = ("construct", "observe", "evaluate", "end_epoch", "begin_epoch", "load", "move")


def a_run(make, inside, soft):
    """Three epochs of a criterion, the named parts of them inside inference mode: criterion, losses and gradients."""

    def part(name):
        return torch.inference_mode() if name in inside else nullcontext()

    generator = torch.Generator().manual_seed(0)
    with part("construct"):
        criterion = ReweightedLoss(make([50, 40, 30]), smoothing=0.1)
    classes, labels, numbers = criterion.weighting.num_classes, torch.arange(48) % 3, []
    targets = F.one_hot(labels, classes) * 0.9 + 0.1 / classes if soft else labels
    for epoch in range(3):
        for step in range(3):
            rows = torch.randn(48, classes, generator=generator)
            if step == 1:
                with part("observe"):
                    of_this_mode = rows * 1.0, targets * 1
                    criterion.observe(*of_this_mode)
                criterion.observe(*of_this_mode)
                with part("evaluate"):
                    numbers.append(criterion.eval()(*of_this_mode) * 1.0)
                criterion.train()
            loss = criterion(rows.requires_grad_(), targets)
            loss.backward()
            numbers += [loss.detach(), rows.grad]
        with part("move"):
            criterion.to("cpu").double().float()
        with part("end_epoch"):
            criterion.end_epoch()
        with part("load"):
            state = criterion.state_dict()
            criterion.load_state_dict(state)
            criterion.load_state_dict(copy.deepcopy(state), assign=True)
        with part("begin_epoch"):
            criterion.weighting.begin_epoch(epoch + 1)
    return criterion, numbers


@pytest.mark.parametrize("inside", [*((name,) for name in PARTS), PARTS], ids="+".join)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("make", ["dv", "bv", "pv", "wide", "effective number"])
def test_any_part_inside_inference_mode_gives_the_same_run_as_outside(make, soft, inside):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, expected_numbers = a_run(EVERY_WEIGHTING[make], (), soft)
        criterion, numbers = a_run(EVERY_WEIGHTING[make], inside, soft)
    assert all(torch.equal(a, b) for a, b in zip(numbers, expected_numbers, strict=True))
    assert torch.equal(criterion.weighting.weights, expected.weighting.weights)
    assert not any(buffer.is_inference() for buffer in criterion.buffers())


def test_a_users_weighting_may_be_made_in_inference_mode():
    class Own(FrequencyWeighting):
        def log_shape(self, counts):
            return counts.log() / 3

    with torch.inference_mode():
        inside = LogitAdjustedLoss(Own([50, 40, 30], start_epoch=1))
    logits = torch.randn(6, 3, requires_grad=True)
    inside(logits, torch.arange(6) % 3).backward()
    inside.end_epoch()
    inside(logits, torch.arange(6) % 3).backward()
    assert torch.equal(inside.weighting.weights, Own([50, 40, 30]).weights)
