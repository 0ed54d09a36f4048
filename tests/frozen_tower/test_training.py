"""Many methods in one program end where each ends alone, in a plain loop over the product's own criterion."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from frozen_tower_data import BATCH, Data
from frozen_tower_heads import Linear
from frozen_tower_methods import METHODS
from frozen_tower_training import Recipe, Training
from torch import Tensor

from vlltr_plugin import LogitAdjustedLoss, ReweightedLoss

CLASSES, FEATURES = 4, 6
RECIPE = Recipe(epochs=6, learning_rate=0.05, weight_decay=1e-3)


def small_data(sampler: str = "uniform", mixup: bool = False) -> Data:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(CLASSES).repeat_interleave(torch.tensor([300, 120, 60, 33]))
    test_labels = torch.arange(CLASSES).repeat_interleave(50)
    centres = 2 * torch.randn(CLASSES, FEATURES, generator=generator)
    spreads = 0.5 + torch.rand(CLASSES, 1, generator=generator)
    images, test_images = (
        centres[y] + spreads[y] * torch.randn(len(y), FEATURES, generator=generator) for y in (labels, test_labels)
    )
    groups = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
    return Data(images, labels, test_images, test_labels, groups, sampler, 5, 0.1 if mixup else 0.0, mixup)


def alone(name: str, data: Data) -> tuple[Tensor, Tensor]:
    """Test logits and weights of one method trained by itself, step by step."""
    method = METHODS[name]
    weighting = method.build(data, RECIPE.start_epoch)
    make = partial(LogitAdjustedLoss, tau=method.tau) if method.form == "adjusted" else ReweightedLoss
    criterion = make(weighting, smoothing=data.smoothing)
    start = Linear().initial(FEATURES, CLASSES, data.seed)
    layer = torch.nn.Linear(FEATURES, CLASSES)
    layer.load_state_dict({"weight": start["weight"][0], "bias": start["bias"][0]})
    rule = {"momentum": 0.9, "nesterov": True, "weight_decay": RECIPE.weight_decay}
    optimizer = torch.optim.SGD(layer.parameters(), RECIPE.learning_rate, **rule)
    steps = len(data.labels) // BATCH
    for epoch in range(RECIPE.epochs):
        for number, batch in enumerate(data.epoch(epoch)):
            done = (epoch + number / steps) / RECIPE.epochs
            optimizer.param_groups[0]["lr"] = RECIPE.learning_rate * (1 + math.cos(math.pi * done)) / 2
            optimizer.zero_grad()
            logits = layer(batch.features)
            loss = criterion(logits, batch.targets)
            if method.deferred and epoch < RECIPE.start_epoch:
                loss = torch.nn.functional.cross_entropy(logits, batch.targets)
            loss.backward()
            optimizer.step()
        criterion.end_epoch(epoch)
    with torch.no_grad():
        return layer(data.test_features), weighting.weights


NAMES = [
    *("ce", "inverse", "dv", "bv", "dv-s30", "r^2", "dv-shuffled", "features^4", "features adjusted"),
    *("en adjusted", "dv adjusted", "dv-dataset adjusted", "dv adjusted from 1"),
    *("inverse from 0", "inverse from 1", "dv from 1"),
]


@pytest.mark.parametrize(("sampler", "mixup"), [("uniform", False), ("sqrt", False), ("sqrt", True)])
def test_methods_trained_together_equal_methods_trained_alone(sampler: str, mixup: bool) -> None:
    data = small_data(sampler, mixup)
    names = [*NAMES, *(["dv-mass", "dv-letter", "dv adjusted 1.5"] if mixup else ["dv adjusted late"])]
    together = Training(data, Linear(), RECIPE, names).run()
    for name in names:
        logits, weights = alone(name, data)
        torch.testing.assert_close(together[name].weights, weights, rtol=1e-4, atol=1e-5, msg=f"{name} differs")
        torch.testing.assert_close(together[name].logits, logits, rtol=1e-3, atol=1e-3, msg=f"{name} differs")
    assert not torch.allclose(together["dv"].logits, together["inverse"].logits, atol=1e-2)


def test_weights_that_start_at_other_epochs_give_other_results() -> None:
    starts = ["dv", "dv from 1", "dv adjusted", "dv adjusted from 1", "dv adjusted late", "inverse from 0"]
    found = Training(small_data(), Linear(), RECIPE, ["ce", *starts]).run()
    for i, name in enumerate(starts):
        for other in starts[:i]:
            assert not torch.allclose(found[name].logits, found[other].logits, atol=1e-2), (name, other)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Methods trained together, with many of them applied to the logits of ce after training."""
    measured = ("dv", "bv", "dv-test", "dv-shuffled", "dv-fitted", "r^4-fitted", "bv-fitted")
    names = ["ce", "inverse", "dv-test", "dv", *(f"{name} post-hoc" for name in measured)]
    return Training(small_data(), Linear(), RECIPE, names).run()


def test_a_method_gives_the_same_result_with_fewer_others(found: dict[str, Any]) -> None:
    fewer = Training(small_data(), Linear(), RECIPE, ["ce", "dv-test"]).run()
    torch.testing.assert_close(found["dv-test"].logits, fewer["dv-test"].logits, rtol=1e-4, atol=1e-5)


def test_held_out_radii_are_those_of_the_test_images(found: dict[str, Any]) -> None:
    labels = small_data().test_labels
    for name, logits in (("dv-test", found["dv-test"].logits), ("dv-test post-hoc", found["ce"].logits)):
        spread = torch.stack([logits[labels == i].std(dim=0).log().mean() for i in range(CLASSES)])
        torch.testing.assert_close(found[name].log_radius, spread, rtol=1e-3, atol=1e-4)


def test_post_hoc_methods_shift_the_logits_of_ce(found: dict[str, Any]) -> None:
    shift = found["dv post-hoc"].logits - found["ce"].logits
    torch.testing.assert_close(shift, found["dv post-hoc"].weights.log().expand_as(shift), rtol=1e-4, atol=1e-4)


def test_shuffled_radii_are_the_radii_of_other_classes(found: dict[str, Any]) -> None:
    true, shuffled = (found[name].log_radius for name in ("dv post-hoc", "dv-shuffled post-hoc"))
    torch.testing.assert_close(shuffled.sort().values, true.sort().values)
    assert not torch.equal(shuffled, true)


@pytest.mark.parametrize(
    ("fitted", "measured", "power"), [("dv-fitted", "dv", 1), ("r^4-fitted", "dv", 4), ("bv-fitted", "bv", 1)]
)
def test_fitted_radii_are_a_power_of_the_counts(found: dict[str, Any], fitted: str, measured: str, power: int) -> None:
    x, y = np.log(small_data().class_counts.numpy()), found[f"{measured} post-hoc"].log_radius.double().numpy()
    expected = power * np.polyval(np.polyfit(x, y, 1), x)
    np.testing.assert_allclose(found[f"{fitted} post-hoc"].log_radius.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected / power - y).max() > 0.01
