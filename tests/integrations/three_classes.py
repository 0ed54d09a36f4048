"""Samples of three classes and a criterion for them, which the tests of all trainers share."""

import itertools

import torch
from recorded_run import COUNTS
from recorded_run import fresh as volume

from vlltr_plugin import LogitAdjustedLoss, ReweightedLoss

LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) * (1.0 + LABELS[:, None])
LOSSES = [ReweightedLoss, LogitAdjustedLoss]


def linear_model(**options):
    layer = torch.nn.Linear(4, 3, **options)
    torch.nn.init.constant_(layer.weight, 0.01)
    torch.nn.init.zeros_(layer.bias)
    return layer


def progress(state):
    """Epoch in progress and whether there are radii, of a saved state."""
    criterion = volume()
    criterion.load_state_dict(state)
    return [criterion.weighting.epoch, criterion.weighting.has_radii]


class Stream(torch.utils.data.IterableDataset):
    """Items of a data set without a length; `endless` ones begin anew."""

    def __init__(self, items, endless=False):
        self.items, self.endless = items, endless

    def __iter__(self):
        return itertools.cycle(self.items) if self.endless else iter(self.items)
