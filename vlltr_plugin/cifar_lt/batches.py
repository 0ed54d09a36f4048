"""Makes the batches of an epoch on the device: draws, crops with reflected borders, flips, mixup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlltr_plugin.cifar_lt.data import LongTailed, digest

BORDER = 4  # pixels that the crops may move (He et al., CVPR 2016, section 4.2; reflected as in the authors' code)
SAMPLERS = ("uniform", "sqrt")
TEST_BATCH = 1000  # images of a test batch on a GPU; smaller batches would leave it idle


class Batch(NamedTuple):
    """One step for S replicas: normalised images `[B, S*3, H, W]`; labels `[S, B]`, or with mixup `[S, B, C]`."""

    images: Tensor
    targets: Tensor


class Batches:
    """A data set on a device. The draws of a seed in an epoch depend only on the seed and the epoch.

    Channels are normalised with the training set's own mean and standard deviation. `sampler="uniform"` draws each
    image once an epoch; `"sqrt"` draws as many with replacement, an image with weight 1/sqrt(n) of its class, as
    long-tailed code bases do. `mixup` is the parameter of its Beta distribution (Zhang et al., ICLR 2018), 0 for none.
    """

    def __init__(
        self, data: LongTailed, device: torch.device, sampler: str = "uniform", batch_size: int = 100, mixup: float = 0
    ) -> None:
        self.device, self.sampler, self.batch_size, self.mixup = device, sampler, batch_size, mixup
        self.digest = digest(data)
        self.num_classes = data.num_classes
        self.class_counts = torch.from_numpy(data.class_counts)
        self.size = data.x_train.shape[1:3]
        bordered = np.pad(data.x_train, ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="reflect")
        self._train = torch.from_numpy(bordered).to(device)
        self._labels = torch.from_numpy(data.y_train).to(device)
        self._test = torch.from_numpy(data.x_test).to(device)
        self.test_labels = torch.from_numpy(data.y_test).to(device)
        self._mean = torch.tensor(data.x_train.mean(axis=(0, 1, 2)), dtype=torch.float32, device=device)
        self._std = torch.tensor(data.x_train.std(axis=(0, 1, 2)), dtype=torch.float32, device=device)
        self._draw_weights = self.class_counts.double().rsqrt()[torch.from_numpy(data.y_train)]

    @property
    def draws(self) -> Tensor:
        """m_i, expected draws of each class in an epoch, float64 `[C]`."""
        share = self.class_counts.double()
        if self.sampler == "sqrt":
            share = share.sqrt()
        return share / share.sum() * len(self._labels)

    def epoch(self, seeds: list[int], epoch: int) -> Iterator[Batch]:
        """The training batches of one epoch, one replica for each seed."""
        plans = [self._plan(seed, epoch) for seed in seeds]
        order, corner, flip, partner, share = (torch.stack(part).to(self.device) for part in zip(*plans, strict=True))
        for batch, start in enumerate(range(0, order.shape[1], self.batch_size)):
            part = slice(start, start + self.batch_size)
            images = self._crops(order[:, part], corner[:, part], flip[:, part])
            targets = self._labels[order[:, part]]
            if self.mixup:
                images, targets = self._mixed(images, targets, partner[:, part], share[:, batch])
            yield Batch(_stacked(images), targets)

    def test(self, replicas: int) -> Iterator[Tensor]:
        """The test images for every replica, `[B, S*3, H, W]`."""
        size = max(self.batch_size, TEST_BATCH) if self.device.type == "cuda" else self.batch_size
        for part in self._test.split(size):
            yield _stacked(self._normalized(part)[None].expand(replicas, *part.shape))

    def _plan(self, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Order `[N]`, crop corners `[N, 2]`, flips `[N]`; for mixup a sorting key `[N]` and shares `[batches]`."""
        entropy = np.random.SeedSequence([seed, epoch])
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
        number = len(self._draw_weights)
        if self.sampler == "sqrt":
            order = torch.multinomial(self._draw_weights, number, replacement=True, generator=generator)
        else:
            order = torch.randperm(number, generator=generator)
        corner = torch.randint(2 * BORDER + 1, (number, 2), generator=generator)
        flip = torch.rand(number, generator=generator, dtype=torch.float32) < 0.5
        partner = torch.rand(number, generator=generator, dtype=torch.float32)
        batches = -(-number // self.batch_size)
        shares = np.random.default_rng(entropy).beta(self.mixup or 1.0, self.mixup or 1.0, batches)
        return order, corner, flip, partner, torch.tensor(shares, dtype=torch.float32)

    def _crops(self, index: Tensor, corner: Tensor, flip: Tensor) -> Tensor:
        """Images `[S, B, H, W, 3]` of indices `[S, B]`."""
        height, width = (torch.arange(extent, device=self.device) for extent in self.size)
        rows = corner[..., :1] + height
        columns = corner[..., 1:] + torch.where(flip[..., None], width.flip(0), width)
        crops = self._train[index[..., None, None], rows[..., :, None], columns[..., None, :]]
        return self._normalized(crops)

    def _mixed(self, images: Tensor, labels: Tensor, partner: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes each image with another one of its batch, with one mixing weight per replica's batch."""
        other = partner.argsort(dim=1)
        replica = torch.arange(len(labels), device=labels.device)[:, None]
        onehot = torch.nn.functional.one_hot(labels, self.num_classes).float()
        first, second = share[:, None, None], 1 - share[:, None, None]
        targets = first * onehot + second * onehot[replica, other]
        return first[..., None, None] * images + second[..., None, None] * images[replica, other], targets

    def _normalized(self, images: Tensor) -> Tensor:
        return (images.float() - self._mean) / self._std


def _stacked(images: Tensor) -> Tensor:
    """`[S, B, H, W, 3]` as `[B, S*3, H, W]`, channels last in memory."""
    replicas, batch, height, width, channels = images.shape
    return images.permute(1, 2, 3, 0, 4).reshape(batch, height, width, replicas * channels).permute(0, 3, 1, 2)
