"""A sampler that draws by weight and deals the draws out to the ranks."""

import math
from collections.abc import Iterator, Sequence, Sized

import torch
from torch.utils.data import Sampler


class WeightedDistributedSampler(Sampler[int]):
    """Draw indices with given probabilities, the same draw on all ranks, each rank taking its part.

    Args:
        dataset: Its length is the number of draws of an epoch, all ranks together.
        weights: One non-negative number per sample.
        replacement: Draw with replacement.
        num_replicas: Number of ranks.
        rank: This process.
        deterministic: Seed each epoch's draw with `seed + epoch`; else draw from torch's global generator.
        seed: See `deterministic`.
    """

    def __init__(
        self,
        dataset: Sized,
        weights: Sequence[float],
        replacement: bool = True,
        num_replicas: int = 1,
        rank: int = 0,
        deterministic: bool = True,
        seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.weights = torch.as_tensor(weights, dtype=torch.double)
        self.replacement = replacement
        self.num_replicas = num_replicas
        self.rank = rank
        self.deterministic = deterministic
        self.seed = seed
        self.epoch = 0
        self.num_samples = math.ceil(len(dataset) / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch) if self.deterministic else None
        draws = torch.multinomial(self.weights, self.total_size, self.replacement, generator=generator)
        return iter(draws[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Make the next draw that of `epoch`."""
        self.epoch = epoch
