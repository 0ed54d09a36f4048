import math

import pytest
import torch

from vlltr_plugin.cifar_lt.methods import METHODS

COUNTS = torch.tensor([40, 9, 3])
LABELS = torch.repeat_interleave(torch.arange(3), COUNTS)


def epochs_of(name, number, draws=COUNTS):
    """Made-up logits of each epoch of a short training with deferred weights from epoch 2 on, and its criterion."""
    generator = torch.Generator().manual_seed(0)
    criterion = METHODS[name].criterion(COUNTS, draws, 2)
    for epoch in range(number):
        logits = torch.randn(len(LABELS), 3, generator=generator).mul(10).requires_grad_()
        yield epoch, criterion, logits
        criterion(logits, LABELS).backward()
        criterion.end_epoch(epoch)


def weights_of(name):
    """The weights in force in each of three epochs."""
    return [criterion.weighting.weights.clone() for _, criterion, _ in epochs_of(name, 3)]


@pytest.mark.parametrize("name", [name for name in METHODS if "10" not in name])
def test_weights_are_1_until_they_apply_and_normalised_then(name):
    method = METHODS[name]
    *early, last = weights_of(name)
    if method.weighting == "none":
        assert torch.equal(last, torch.ones(3))
    else:
        assert not torch.allclose(last, torch.ones(3), atol=0.05)
        counts = torch.ones(3) if method.options.get("normalize") == "mean" else COUNTS
        assert (last.double() * counts).sum() / counts.sum() == pytest.approx(1, abs=1e-5)
    if not method.margins:
        assert all(torch.equal(weights, torch.ones(3) if method.deferred else last) for weights in early)


def test_names_with_10_take_10_axes_and_s30_gives_classes_below_30_images_one_radius():
    assert [METHODS[name].options["axes"] for name in METHODS if "10" in name] == [10, 10]
    radii = weights_of("dv-s30")[-1] * COUNTS
    torch.testing.assert_close(radii[1], radii[2])
    assert not torch.isclose(*(weights_of("dv")[-1] * COUNTS)[1:], rtol=1e-3)


WARM_UPS = {
    "ce": ("ce", "dv", "inverse-drw", "ib"),
    "inverse-la": ("inverse-la", "dv-la"),
    "ldam": ("ldam", "ldam-drw"),
    None: ("en", "en-la"),
    **{name: (name,) for name in ("balanced-softmax", "lade", "focal")},
}


def test_warm_ups_are_shared_by_methods_of_one_base_only():
    assert {shared: {METHODS[name].warm_up for name in names} for shared, names in WARM_UPS.items()} == {
        shared: {shared} for shared in WARM_UPS
    }


@pytest.mark.parametrize(
    ("name", "draws"), [("inverse-la", COUNTS), ("dv-la", COUNTS), ("inverse-la", COUNTS.double().sqrt())]
)
def test_margins_are_those_of_equal_radii_until_volumes_apply(name, draws):
    """The loss is that of z + log m_j - log r_j; with a uniform sampler and equal radii balanced softmax."""
    balanced = METHODS["balanced-softmax"].criterion(COUNTS, draws, 2)
    for epoch, criterion, logits in epochs_of(name, 4, draws):
        found, equal = criterion.losses(logits, LABELS), name == "inverse-la" or epoch < 2
        same = torch.allclose(found, balanced.losses(logits, LABELS), rtol=1e-5, atol=1e-5)
        assert same == (equal and draws is COUNTS)
        radius = torch.ones(3) if equal else criterion.weighting.log_radius64.exp()
        rows = [[z + math.log(m / r) for z, m, r in zip(row, draws, radius, strict=True)] for row in logits.tolist()]
        losses = [math.log(sum(math.exp(z - row[label]) for z in row)) for row, label in zip(rows, LABELS, strict=True)]
        assert found.tolist() == pytest.approx(losses, rel=1e-4, abs=1e-4)
