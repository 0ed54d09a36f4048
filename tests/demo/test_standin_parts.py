"""The sampler, mixup and the evaluation of the stand-in against naive loops."""

import argparse
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

LABELS = [0] * 64 + [1] * 16 + [2] * 4


def sqrt_weights():
    counts = np.bincount(LABELS)
    return [1.0 / np.sqrt(counts[label]) for label in LABELS]


def test_sqrt_sampler_draws_each_class_by_the_square_root_of_its_count(load_module):
    sampler = load_module("samplers").WeightedDistributedSampler(LABELS, sqrt_weights())
    drawn = np.zeros(3)
    for epoch in range(300):
        sampler.set_epoch(epoch)
        drawn += np.bincount([LABELS[index] for index in sampler], minlength=3)
    expected = np.sqrt([64, 16, 4])
    assert drawn.sum() == 300 * len(LABELS)
    np.testing.assert_allclose(drawn / drawn.sum(), expected / expected.sum(), atol=0.01)


def test_sampler_repeats_its_draw_until_the_epoch_is_set(load_module):
    sampler = load_module("samplers").WeightedDistributedSampler(LABELS, sqrt_weights())
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_ranks_deal_out_one_common_draw(load_module):
    build = load_module("samplers").WeightedDistributedSampler
    ranks = [list(build(LABELS, sqrt_weights(), num_replicas=5, rank=rank, seed=3)) for rank in range(5)]
    alone = build([*LABELS, 0], [*sqrt_weights(), 0.0], seed=3)  # 85 draws, as many as 5 ranks of 17
    assert build(LABELS, sqrt_weights(), num_replicas=5).total_size == 85
    assert [index for draws in zip(*ranks, strict=True) for index in draws] == list(alone)


@pytest.mark.parametrize("lam", [1.0, 0.7, 0.0])
def test_mixup_targets_equal_a_loop_over_the_two_labels(load_module, lam):
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
def test_the_share_of_the_pixels_is_the_share_of_the_labels(load_module, mixup_alpha, cutmix_alpha):
    mix = load_module("mixup").Mixup(mixup_alpha, cutmix_alpha, label_smoothing=0.0, num_classes=2)
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    np.random.seed(0)  # noqa: NPY002  (what Mixup draws from)
    shares = []
    for _ in range(50):
        mixed, targets = mix(images, torch.tensor([0, 1]))
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), targets[:, 1])
        shares.append(float(targets[1, 1]))
    assert len(set(shares)) > 5


def test_mixup_probability_zero_leaves_the_batch_alone(load_module):
    mix = load_module("mixup").Mixup(0.8, 1.0, prob=0.0, num_classes=2)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(mix(images, torch.tensor([0, 1]))[0], images)


def test_shot_groups_follow_the_training_counts(load_module, monkeypatch):
    monkeypatch.setitem(sys.modules, "utils", ModuleType("utils"))  # not needed by this function
    engine = load_module("engine")
    labels = [0] * 100 + [1] * 99 + [2] * 21 + [3] * 20 + [4] * 10 + [5] * 5
    targets = torch.arange(6).repeat_interleave(4)
    hits_per_class = [4, 2, 1, 3, 0, 2]
    predictions = targets.clone()
    for c, hits in enumerate(hits_per_class):
        predictions[4 * c + hits : 4 * c + 4] = (c + 1) % 6
    assert engine.shot_accuracies(predictions, targets, labels) == pytest.approx(
        {"many": 100.0, "median": 37.5, "low": 125 / 3, "10-shot": 25.0, "5-shot": 50.0}
    )


def test_train_transform_is_random_by_torchs_generator_and_the_other_is_fixed(load_module):
    datasets = load_module("datasets")
    image = torch.rand(1, 8, 8)
    train, evaluate = (datasets.build_transform(is_train, argparse.Namespace()) for is_train in (True, False))
    draws = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        draws.append(train(image))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert draws[0].shape == image.shape
    assert torch.equal(evaluate(image), image * 2 - 1)
