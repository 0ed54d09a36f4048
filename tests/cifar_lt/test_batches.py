import numpy as np
import pytest
import torch

from vlltr_plugin.cifar_lt.batches import BORDER, Batches

CPU = torch.device("cpu")


def image_numbers(batches, seeds, epoch):
    """Which training image each place of an epoch holds, from images that carry their number."""
    return torch.cat([batch.targets for batch in batches.epoch(seeds, epoch)], dim=1)


def naive_crop(image, corner, flip):
    """A crop of the image with reflected borders, pixel by pixel."""
    height, width, _ = image.shape
    crop = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            row = i + corner[0] - BORDER
            column = (width - 1 - j if flip else j) + corner[1] - BORDER
            row = -row if row < 0 else 2 * (height - 1) - row if row >= height else row
            column = -column if column < 0 else 2 * (width - 1) - column if column >= width else column
            crop[i, j] = image[row, column]
    return crop


def test_uniform_epochs_hold_every_image_once_in_another_order(digits, batches):
    first, second = (image_numbers(batches, [0], epoch)[0] for epoch in (0, 1))
    assert torch.equal(torch.bincount(first), torch.from_numpy(digits.class_counts))
    assert not torch.equal(first, second)
    np.testing.assert_allclose(batches.draws, digits.class_counts)
    sizes = [len(batch.images) for batch in Batches(digits, CPU, batch_size=30).epoch([0], 0)]
    assert sizes == [30] * 6 + [19]  # the last batch takes what is left


def test_crops_and_flips_equal_a_naive_loop(digits, batches):
    index = torch.tensor([[0, 5, 9, 150]])
    corner = torch.tensor([[[0, 8], [4, 4], [8, 0], [3, 6]]])
    flip = torch.tensor([[True, False, True, False]])
    mean, std = digits.x_train.mean(axis=(0, 1, 2)), digits.x_train.std(axis=(0, 1, 2))
    found = batches._crops(index, corner, flip)[0]
    for number in range(4):
        image = digits.x_train[int(index[0, number])]
        expected = (naive_crop(image, corner[0, number].tolist(), bool(flip[0, number])) - mean) / std
        np.testing.assert_allclose(found[number].numpy(), expected, atol=1e-5)


def test_crops_move_by_up_to_the_border_and_half_are_flipped(batches):
    _, corner, flip, _, _ = (torch.cat(part) for part in zip(*(batches._plan(0, e) for e in range(40)), strict=True))
    assert corner.unique().tolist() == list(range(2 * BORDER + 1))
    assert 0.47 < flip.float().mean() < 0.53


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_batches_of_a_seed_do_not_depend_on_other_seeds(digits, mixup):
    batches = Batches(digits, CPU, mixup=mixup)
    alone = list(batches.epoch([7], 3))
    beside = list(batches.epoch([1, 7, 2], 3))
    for one, three in zip(alone, beside, strict=True):
        assert torch.equal(one.images, three.images[:, 3:6])
        assert torch.equal(one.targets[0], three.targets[1])
    assert not torch.equal(beside[0].images[:, :3], beside[0].images[:, 3:6])


def test_the_sqrt_sampler_draws_as_often_as_it_expects_to(digits):
    batches = Batches(digits, CPU, sampler="sqrt")
    epochs = 300
    drawn = sum(torch.bincount(image_numbers(batches, [0], e)[0], minlength=10) for e in range(epochs)).double()
    assert batches.draws.sum() == pytest.approx(digits.class_counts.sum())
    np.testing.assert_allclose(batches.draws**2 / batches.draws.sum() ** 2 * np.sqrt(digits.class_counts).sum() ** 2,
                               digits.class_counts, rtol=1e-9)  # fmt: skip
    errors = (drawn - epochs * batches.draws) / (epochs * batches.draws).sqrt()
    assert errors.abs().max() < 4


def test_mixup_mixes_images_and_labels_by_the_same_share(digits):
    plain, mixed = Batches(digits, CPU), Batches(digits, CPU, mixup=1.0)
    shares = []
    for one, two in zip(plain.epoch([0], 0), mixed.epoch([0], 0), strict=True):
        onehot = torch.nn.functional.one_hot(one.targets[0], 10).float()
        torch.testing.assert_close(two.targets.sum(dim=2), torch.ones_like(two.targets[..., 0]))
        # In least squares a mixed image is its first image times the share plus some other of the batch.
        share = (two.targets[0] * onehot).sum(dim=1).min()
        shares.append(float(share))
        for number in range(5):
            rest = (two.images[number] - share * one.images[number]) / (1 - share)
            nearest = (one.images - rest).abs().amax(dim=(1, 2, 3)).min()
            assert nearest < 1e-3
    assert len(set(shares)) == len(shares)


def test_test_images_come_in_order_for_every_replica(digits, batches):
    images = torch.cat(list(batches.test(2)))
    assert images.shape == (50, 6, 8, 8)
    assert torch.equal(images[:, :3], images[:, 3:])
    mean, std = digits.x_train.mean(axis=(0, 1, 2)), digits.x_train.std(axis=(0, 1, 2))
    expected = ((digits.x_test - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images[:, :3].numpy(), expected, atol=1e-5)
