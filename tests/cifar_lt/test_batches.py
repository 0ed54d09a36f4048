import numpy as np
import pytest
import torch

from vlltr_plugin.cifar_lt.batches import Batches

CPU = torch.device("cpu")


def labels_of(batches, epoch):
    """The label at each place of an epoch of seed 0."""
    return torch.cat([batch.targets[0] for batch in batches.epoch([0], epoch)])


def normalised(images, digits):
    return (images - digits.x_train.mean(axis=(0, 1, 2))) / digits.x_train.std(axis=(0, 1, 2))


def test_uniform_epochs_hold_every_image_once_in_another_order(digits, batches):
    first, second = (labels_of(batches, epoch) for epoch in (0, 1))
    assert torch.equal(torch.bincount(first), torch.from_numpy(digits.class_counts))
    assert not torch.equal(first, second)
    np.testing.assert_allclose(batches.draws, digits.class_counts)
    sizes = [len(batch.images) for batch in Batches(digits, CPU, batch_size=30).epoch([0], 0)]
    assert sizes == [30] * 6 + [19]  # the last batch takes what is left


def test_crops_with_reflected_borders_of_4_pixels_are_cut_and_flipped(digits, batches):
    index, corners, flips = (0, 5, 9, 150), [(0, 8), (4, 4), (8, 0), (3, 6)], (True, False, True, False)
    found = batches._crops(torch.tensor([index]), torch.tensor([corners]), torch.tensor([flips]))[0]
    for image, (top, left), flip, crop in zip(digits.x_train[list(index)], corners, flips, found, strict=True):
        cut = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")[top : top + 8, left : left + 8]
        np.testing.assert_allclose(crop, normalised(cut[:, ::-1] if flip else cut, digits), atol=1e-5)


def test_crops_move_by_up_to_the_border_and_half_are_flipped(batches):
    _, corner, flip, _, _ = (torch.cat(part) for part in zip(*(batches._plan(0, e) for e in range(40)), strict=True))
    assert corner.unique().tolist() == list(range(9))
    assert 0.47 < flip.float().mean() < 0.53


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_batches_of_a_seed_do_not_depend_on_other_seeds(digits, mixup):
    batches = Batches(digits, CPU, mixup=mixup)
    for one, three in zip(batches.epoch([7], 3), batches.epoch([1, 7, 2], 3), strict=True):
        assert torch.equal(one.images, three.images[:, 3:6])
        assert torch.equal(one.targets[0], three.targets[1])
        assert not torch.equal(three.images[:, :3], three.images[:, 3:6])


def test_the_sqrt_sampler_draws_as_often_as_it_expects_to(digits):
    batches, epochs = Batches(digits, CPU, sampler="sqrt"), 300
    share = np.sqrt(digits.class_counts) / np.sqrt(digits.class_counts).sum()
    np.testing.assert_allclose(batches.draws, share * digits.class_counts.sum(), rtol=1e-9)
    drawn = sum(torch.bincount(labels_of(batches, epoch), minlength=10) for epoch in range(epochs)).double()
    errors = (drawn - epochs * batches.draws) / (epochs * batches.draws).sqrt()
    assert errors.abs().max() < 4


def test_mixup_mixes_images_and_labels_by_the_same_share(digits):
    shares = []
    for one, two in zip(*(Batches(digits, CPU, mixup=mixup).epoch([0], 0) for mixup in (0.0, 1.0)), strict=True):
        onehot = torch.nn.functional.one_hot(one.targets[0], 10).float()
        torch.testing.assert_close(two.targets.sum(dim=2), torch.ones_like(two.targets[..., 0]))
        # A mixed image is its first image times the share plus some other of the batch.
        share = (two.targets[0] * onehot).sum(dim=1).min()
        shares.append(float(share))
        for number in range(5):
            rest = (two.images[number] - share * one.images[number]) / (1 - share)
            assert (one.images - rest).abs().amax(dim=(1, 2, 3)).min() < 1e-3
    assert len(set(shares)) == len(shares)


def test_test_images_come_in_order_for_every_replica(digits, batches):
    images = torch.cat(list(batches.test(2)))
    assert images.shape == (50, 6, 8, 8)
    assert torch.equal(images[:, :3], images[:, 3:])
    np.testing.assert_allclose(images[:, :3], normalised(digits.x_test, digits).transpose(0, 3, 1, 2), atol=1e-5)
