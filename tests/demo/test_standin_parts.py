"""The sampler, mixup and the evaluation of the stand-in against naive loops."""

import argparse
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from vlltr_plugin.demo.standin_checkout import STANDIN

COUNTS = np.array([64, 16, 4])
LABELS = np.arange(3).repeat(COUNTS).tolist()
WEIGHTS = [1.0 / np.sqrt(COUNTS[label]) for label in LABELS]


def load_module(name):
    """Loads one file of the stand-in under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"standin_{name}", STANDIN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sqrt_sampler_draws_each_class_by_the_square_root_of_its_count_and_repeats_until_the_epoch_is_set():
    sampler = load_module("samplers").WeightedDistributedSampler(LABELS, WEIGHTS)
    drawn, draws = np.zeros(3), []
    for epoch in range(300):
        sampler.set_epoch(epoch)
        draws.append(list(sampler))
        drawn += np.bincount([LABELS[index] for index in draws[-1]], minlength=3)
    assert drawn.sum() == 300 * len(LABELS)
    np.testing.assert_allclose(drawn / drawn.sum(), np.sqrt(COUNTS) / np.sqrt(COUNTS).sum(), atol=0.01)
    assert list(sampler) == draws[-1] != draws[-2]


def test_ranks_deal_out_one_common_draw():
    build = load_module("samplers").WeightedDistributedSampler
    ranks = [list(build(LABELS, WEIGHTS, num_replicas=5, rank=rank, seed=3)) for rank in range(5)]
    alone = build([*LABELS, 0], [*WEIGHTS, 0.0], seed=3)  # 85 draws, as many as 5 ranks of 17
    assert build(LABELS, WEIGHTS, num_replicas=5).total_size == 85
    assert [index for draws in zip(*ranks, strict=True) for index in draws] == list(alone)


@pytest.mark.parametrize("lam", [1.0, 0.7, 0.0])
def test_mixup_targets_equal_a_loop_over_the_two_labels(lam):
    labels, classes, smoothing = [2, 0, 3, 3], 5, 0.1
    expected = torch.zeros(4, classes)
    for row, own in enumerate(labels):
        partner = labels[-1 - row]
        for c in range(classes):
            smoothed = [smoothing / classes + (1 - smoothing) * (c == label) for label in (own, partner)]
            expected[row, c] = lam * smoothed[0] + (1 - lam) * smoothed[1]
    targets = load_module("mixup").mixup_target(torch.tensor(labels), classes, lam, smoothing)
    torch.testing.assert_close(targets, expected)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))


@pytest.mark.parametrize(("mixup_alpha", "cutmix_alpha"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_the_share_of_the_pixels_is_the_share_of_the_labels(mixup_alpha, cutmix_alpha):
    mix = load_module("mixup").Mixup(mixup_alpha, cutmix_alpha, label_smoothing=0.0, num_classes=2)
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    np.random.seed(0)  # noqa: NPY002  (what Mixup draws from)
    shares = []
    for _ in range(50):
        mixed, targets = mix(images, torch.tensor([0, 1]))
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), targets[:, 1])
        shares.append(float(targets[1, 1]))
    assert len(set(shares)) > 5
    never = load_module("mixup").Mixup(mixup_alpha, cutmix_alpha, prob=0.0, num_classes=2)
    assert torch.equal(never(images, torch.tensor([0, 1]))[0], images)


def test_shot_groups_follow_the_training_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "utils", ModuleType("utils"))  # not needed by this function
    labels = [0] * 100 + [1] * 99 + [2] * 21 + [3] * 20 + [4] * 10 + [5] * 5
    targets = torch.arange(6).repeat_interleave(4)
    predictions = targets.clone()
    for c, hits in enumerate([4, 2, 1, 3, 0, 2]):
        predictions[4 * c + hits : 4 * c + 4] = (c + 1) % 6
    assert load_module("engine").shot_accuracies(predictions, targets, labels) == pytest.approx(
        {"many": 100.0, "median": 37.5, "low": 125 / 3, "10-shot": 25.0, "5-shot": 50.0}
    )


def test_train_transform_is_random_by_torchs_generator_and_the_other_is_fixed():
    build, image, draws = load_module("datasets").build_transform, torch.rand(1, 8, 8), []
    train, evaluate = (build(is_train, argparse.Namespace()) for is_train in (True, False))
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        draws.append(train(image))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert draws[0].shape == image.shape
    assert torch.equal(evaluate(image), image * 2 - 1)
