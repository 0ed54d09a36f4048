import math

import pytest
import torch

from vlltr_plugin.cifar_lt.methods import METHODS

COUNTS = torch.tensor([40, 9, 3])


def weights_of(name, epochs, start_epoch=2):
    """The weights in force in each epoch of a short training on made-up logits."""
    generator = torch.Generator().manual_seed(0)
    criterion = METHODS[name].criterion(COUNTS, COUNTS, start_epoch)
    labels = torch.repeat_interleave(torch.arange(3), COUNTS)
    found = []
    for epoch in range(epochs):
        found.append(criterion.weighting.weights.clone())
        criterion(torch.randn(len(labels), 3, generator=generator).mul(10).requires_grad_(), labels).backward()
        criterion.end_epoch(epoch)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_1_until_they_apply_and_normalised_then(name):
    method = METHODS[name]
    if "10" in name:  # more axes than these logits have
        assert method.options["axes"] == 10
        return
    *early, last = weights_of(name, 3)
    if method.weighting == "none":
        assert torch.equal(last, torch.ones(3))
    else:
        assert not torch.allclose(last, torch.ones(3), atol=0.05)
        counts = torch.ones(3) if method.options.get("normalize") == "mean" else COUNTS
        assert (last.double() * counts).sum() / counts.sum() == pytest.approx(1, abs=1e-5)
    first = torch.ones(3) if method.deferred else last
    if not method.margins:
        assert all(torch.equal(weights, first) for weights in early)


def test_s30_gives_classes_below_30_images_one_radius():
    weights = weights_of("dv-s30", 3)[-1] * COUNTS
    torch.testing.assert_close(weights[1], weights[2])
    assert not torch.isclose(*(weights_of("dv", 3)[-1] * COUNTS)[1:], rtol=1e-3)


def test_warm_ups_are_shared_by_methods_of_one_base_only():
    assert METHODS["dv"].warm_up == METHODS["inverse-drw"].warm_up == METHODS["ce"].warm_up == "ce"
    assert METHODS["ldam-drw"].warm_up == "ldam"
    assert METHODS["en"].warm_up is None
    assert METHODS["ib"].warm_up == "ce"
    assert all(METHODS[name].warm_up == name for name in ("balanced-softmax", "lade", "ldam", "focal"))


MARGINS = {"inverse-la": 0, "dv-la": 2}


@pytest.mark.parametrize("name", MARGINS)
def test_margins_are_those_of_equal_radii_until_volumes_apply(name):
    """The loss is that of z + log m_j - log r_j; with a uniform sampler and equal radii balanced softmax."""
    generator = torch.Generator().manual_seed(0)
    criterion, balanced = (METHODS[other].criterion(COUNTS, COUNTS, 2) for other in (name, "balanced-softmax"))
    labels = torch.repeat_interleave(torch.arange(3), COUNTS)
    for epoch in range(4):
        logits = torch.randn(len(labels), 3, generator=generator).mul(10).requires_grad_()
        same = torch.allclose(criterion(logits, labels), balanced(logits, labels), rtol=1e-5)
        assert same == (name == "inverse-la" or epoch < 2)
        radius = criterion.weighting.log_radius64.exp() if not same else torch.ones(3)
        rows = [[z + math.log(n / r) for z, n, r in zip(row, COUNTS, radius, strict=True)] for row in logits.tolist()]
        losses = [math.log(sum(math.exp(z - row[label]) for z in row)) for row, label in zip(rows, labels, strict=True)]
        assert criterion.losses(logits, labels).mean().item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        criterion.end_epoch(epoch)


def test_margins_are_of_the_draws_of_the_sampler():
    draws = COUNTS.double().sqrt()
    criterion = METHODS["inverse-la"].criterion(COUNTS, draws, 2)
    logits, labels = torch.randn(9, 3, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 3
    expected = torch.nn.functional.cross_entropy(logits.double() + draws.log(), labels)
    assert criterion(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    assert METHODS["inverse-la"].warm_up == METHODS["dv-la"].warm_up == "inverse-la"
    assert METHODS["en-la"].warm_up is None
