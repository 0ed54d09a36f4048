"""Samplers with the names and the attributes of the host's."""

import random

from torch.utils.data import Sampler


class ClassAwareSampler(Sampler):
    def __init__(self, labels, counts):
        self.by_class = [[i for i, label in enumerate(labels) if label == c] for c in range(len(counts))]

    def __len__(self):
        return len(self.by_class) * max(map(len, self.by_class))

    def __iter__(self):
        present = [images for images in self.by_class if images]
        for step in range(len(self)):
            yield random.choice(present[step % len(present)])


class ReSampler(ClassAwareSampler):
    def __init__(self, labels, counts, n_max=20):
        super().__init__(labels, counts)
        self.sampled_cls_num_list = [min(n_max, n) for n in counts]

    def __len__(self):
        return sum(map(len, self.by_class))

    def __iter__(self):
        for c in random.choices(range(len(self.by_class)), weights=self.sampled_cls_num_list, k=len(self)):
            yield random.choice(self.by_class[c])


class DownSampler(ClassAwareSampler):
    def __init__(self, labels, counts, n_max=20):
        super().__init__(labels, counts)
        self.cls_num_list = [min(n_max, n) for n in counts]

    def __len__(self):
        return sum(self.cls_num_list)

    def __iter__(self):
        chosen = [
            i for images, n in zip(self.by_class, self.cls_num_list, strict=True) for i in random.sample(images, n)
        ]
        yield from random.sample(chosen, len(chosen))


class HardestFirst(ClassAwareSampler):
    """A sampler that nobody knows."""
