"""A pass that activation checkpointing runs again during backward is no second batch."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vlltr_plugin import ClassVolume, LogitAdjustedLoss, ReweightedLoss
from vlltr_plugin.core.torch_context import recomputing

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


def again(body, x, targets, reentrant=False):
    return checkpoint(body, x, targets, use_reentrant=reentrant)


WAYS = {
    "non-reentrant": again,
    "reentrant": lambda body, x, y: again(body, x, y, reentrant=True),
    "non-reentrant twice": lambda body, x, y: again(lambda a, b: 1.0 * again(body, a, b), x, y),
    "non-reentrant in reentrant": lambda body, x, y: again(lambda a, b: 1.0 * again(body, a, b), x, y, True),
    "reentrant in non-reentrant": lambda body, x, y: again(lambda a, b: 1.0 * again(body, a, b, True), x, y),
    "reentrant twice": lambda body, x, y: again(lambda a, b: 1.0 * again(body, a, b, True), x, y, True),
    "unpacked by an autograd function": lambda body, x, y: again(
        lambda a, b: body(OwnFunction.apply(a), b) + 0 * OwnFunction.apply(a).sum(), x.asin(), y
    ),
    "another's": OwnCheckpoint.apply,
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
            x = (0.9 * torch.rand(40, 5, generator=generator)).requires_grad_()
            way(model.body, x, torch.randint(4, (40,), generator=generator)).backward()
        model.criterion.end_epoch()
    return model.criterion.weighting.weights


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variant", ["dv", "pv"])
def test_the_weights_are_those_of_the_run_that_kept_everything(way, made, variant):
    expected = weights_after_two_epochs(lambda body, x, targets: body(x, targets), made, variant)
    found = weights_after_two_epochs(WAYS[way], made, variant)
    assert not torch.equal(expected, torch.ones(4))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_nothing_is_recomputed_outside_backward():
    assert not recomputing()
    x = torch.ones(2, requires_grad=True)
    x.sum().backward()
    assert not recomputing()


def test_where_torch_does_not_tell_a_pass_counts(monkeypatch):
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    criterion(torch.randn(4, 4, requires_grad=True), torch.arange(4)).backward()
    assert criterion.weighting._moments.mass.sum() == 4


def test_a_closure_called_again_counts_through_forward_and_not_through_losses():
    """What `observe` documents for L-BFGS."""
    model, generator = nn.Linear(5, 4), torch.Generator().manual_seed(0)
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    x, targets = torch.randn(40, 5, generator=generator), torch.arange(40) % 4
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)

    def closure():
        optimizer.zero_grad()
        loss = criterion.losses(model(x), targets).mean()
        loss.backward()
        return loss

    criterion.observe(model(x), targets)
    optimizer.step(closure)
    assert criterion.weighting._moments.mass.tolist() == [10] * 4
