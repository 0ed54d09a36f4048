"""Copies of a criterion, in this process and for others: each has statistics of its own, or says that it cannot."""

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.multiprocessing as mp

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss

COUNTS = [30, 20, 10]
KINDS = {
    "dv": lambda: ClassVolume(COUNTS),
    "pv": lambda: ClassVolume(COUNTS, variant="pv"),
    "sampled bv": lambda: ClassVolume(COUNTS, variant="bv", features=2),
    "inverse": lambda: InverseFrequency(COUNTS, start_epoch=1),
}


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(60, 3, generator=generator, requires_grad=True), torch.arange(60) % 3


def sent(criterion):
    """As `torch.multiprocessing` sends it to a process that it spawns."""
    return pickle.loads(bytes(ForkingPickler.dumps(criterion)))


def saved(criterion):
    file = io.BytesIO()
    torch.save(criterion, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.fixture
def _shared_as_files():
    strategy = mp.get_sharing_strategy()
    mp.set_sharing_strategy("file_system")
    yield
    mp.set_sharing_strategy(strategy)


@pytest.mark.usefixtures("_shared_as_files")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [sent, saved, copy.deepcopy])
@pytest.mark.parametrize("epochs", [0, 1])
def test_a_copy_and_its_original_count_and_measure_each_for_itself(kind, way, epochs):
    both, one, other = (ReweightedLoss(KINDS[kind]()) for _ in range(3))
    for criterion in (both, one, other):
        for epoch in range(epochs):
            criterion(*batch(epoch))
            criterion.end_epoch()
        criterion(*batch(7))  # of the epoch in which the copy is made
    twin = way(both)
    for criterion, alone, seed in ((both, one, 8), (twin, other, 9)):
        criterion(*batch(seed))
        alone(*batch(seed))
    for criterion, alone in ((both, one), (twin, other)):
        before = [c.weighting.weights.clone() for c in (both, twin)]
        criterion.end_epoch()
        alone.end_epoch()
        rest = 1 if criterion is both else 0
        assert torch.equal((both, twin)[rest].weighting.weights, before[rest])
        assert torch.equal(criterion.weighting.weights, alone.weighting.weights)
        assert torch.equal(criterion.drawn, alone.drawn)
        assert (criterion.weighting.epoch, criterion.weighting.has_radii) == (epochs + 1, True)


def test_a_replica_of_data_parallel_refuses_to_observe_and_names_the_way():
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    replica = criterion._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match=r"DataParallel.*criterion\(model\(images\), targets\)"):
        replica(*batch(0))
    with torch.no_grad():
        torch.testing.assert_close(replica(*batch(0)), criterion(*batch(0)))
    frequencies = ReweightedLoss(InverseFrequency(COUNTS))
    torch.testing.assert_close(frequencies._replicate_for_data_parallel()(*batch(0)), frequencies(*batch(0)))
