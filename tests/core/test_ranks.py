"""Ranks merge to the weights of one process; ranks that differ are refused on every rank, by name."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from epochs import batches
from process_groups import on_two_ranks

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    LogitAdjustedLoss,
    ReweightedLoss,
    Uniform,
    Weighting,
)
from vlltr_plugin.core.batch import batch_of

EPOCH_COUNTS = [60, 40, 20, 9, 3]


def merged_weights(rank, options, uneven=True):
    weighting = ClassVolume(EPOCH_COUNTS, **options)
    for rows, labels in [] if uneven and rank else batches(0, EPOCH_COUNTS):
        mine = slice(None) if uneven else slice(rank, None, 2)
        weighting.observe(100 + rows[mine], labels[mine])
    weighting.end_epoch()
    return weighting.weights


SETTINGS = [{"variant": variant} for variant in ("dv", "bv", "pv")]
SETTINGS += [{"variant": "dv", "features": 3}, {"variant": "bv", "features": 3, "feature_seed": 1}]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("uneven", [False, True], ids=["shared", "one rank sees nothing"])
def test_two_ranks_hold_identical_weights_equal_to_one_process(options, uneven):
    first, second = on_two_ranks(merged_weights, options, uneven)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, merged_weights(0, options), rtol=1e-6, atol=0)


COUNTS = [60, 40, 20]


class OwnRadii(Weighting):
    """A user's weighting whose radii come from this process alone."""

    def __init__(self, radii):
        super().__init__(COUNTS)
        self.own = radii

    def radii(self):
        if isinstance(self.own, Exception):
            raise self.own
        return self.own


def with_label_out_of_range():
    """As on a GPU, where no step looks at the labels."""
    weighting = ClassVolume(COUNTS)
    batch = batch_of(torch.randn(2, 3), torch.tensor([0, 2]), 3)
    weighting.observe_batch(replace(batch, targets=torch.tensor([0, 9]), cheap=False))
    return weighting


def resumed(epochs=1):
    weighting = ClassVolume(COUNTS)
    weighting.progress[1] = True  # has radii
    weighting.begin_epoch(epochs)
    return weighting


def with_radii(*radii):
    weighting = ClassVolume(COUNTS)
    weighting._take_radii(torch.tensor(radii, dtype=torch.float64))
    return lambda: weighting


def of(kind, counts=COUNTS, **options):
    return lambda: kind(counts, **options)


def adjusted(**options):
    return LogitAdjustedLoss(InverseFrequency(COUNTS), **options)


DV, INVERSE = of(ClassVolume), of(InverseFrequency)
ONES = torch.zeros(3, dtype=torch.float64)
SAME = (0, 0)
SHARD = "class_counts (number 0: rank 0 has 60, rank 1 has 30)"
CASES = {
    # name: (weighting of rank 0, of rank 1, the epoch that each ends, what all ranks say, or each)
    "own shard": (DV, of(ClassVolume, [30, 40, 20]), SAME, SHARD),
    "shards": (INVERSE, of(InverseFrequency, [30, 20, 10]), SAME, SHARD),
    "classes": (DV, of(ClassVolume, [9] * 7), SAME, "num_classes (rank 0 has 3, rank 1 has 7"),
    "start": (DV, of(ClassVolume, start_epoch=3), SAME, "start_epoch (rank 0 has 1, rank 1 has 3)"),
    "variant": (of(ClassVolume, variant="pv"), DV, SAME, "variant (rank 0 has 'pv', rank 1 has 'dv')"),
    "features": (of(ClassVolume, features=2), DV, SAME, "features (rank 0 has 2, rank 1 has None)"),
    "columns": (of(ClassVolume, features=2), of(ClassVolume, features=2, feature_seed=5), SAME, "feature_seed (rank 0"),
    "draws": (DV, of(ClassVolume, draws=[1, 1, 1]), SAME, "draws (number 0: rank 0 has 0.5, rank 1 has 0.333"),
    "draws a little": (DV, of(ClassVolume, draws=[60.006, 40, 20]), SAME, "draws (number 0: rank 0 has 0.5, rank 1 "),
    "assign": (DV, of(ClassVolume, assign="mass"), SAME, "assign (rank 0 has 'dominant', rank 1 has 'mass')"),
    "reduction": (adjusted, lambda: adjusted(reduction="sum"), SAME, "reduction (rank 0 has 'mean', rank 1 has 'sum"),
    "radii": (with_radii(0, 0, 1), with_radii(0, 0, 1.0001), SAME, "log_radius (number 2: rank 0 has 1.0, rank 1 "),
    "type": (DV, INVERSE, SAME, "type (rank 0 has 'ClassVolume', rank 1 has 'InverseFrequency')"),
    "no weights": (of(Uniform), DV, SAME, "type (rank 0 has 'Uniform'"),
    "beta": (of(EffectiveNumber, beta=0.999999), of(EffectiveNumber, beta=0.9999999), SAME, "beta (rank 0 has 0.99"),
    "epoch": (DV, DV, (3, 4), "epoch (rank 0 has 3, rank 1 has 4)"),
    "frequencies' epoch": (INVERSE, INVERSE, (0, 1), "epoch (rank 0 has 0, rank 1 has 1)"),
    "resumed": (resumed, DV, (1, 1), "has_radii (rank 0 has True, rank 1 has False)"),
    "resumed elsewhere": (resumed, lambda: resumed(5), (None, None), "epoch (rank 0 has 1, rank 1 has 5)"),
    "tau": (adjusted, lambda: adjusted(tau=2.0), SAME, "tau (rank 0 has 1.0, rank 1 has 2.0)"),
    "smoothing": (adjusted, lambda: adjusted(smoothing=0.1), SAME, "smoothing (rank 0 has 0.0, rank 1 has 0.1)"),
    "criterion": (adjusted, lambda: ReweightedLoss(INVERSE()), SAME, "criterion (rank 0 has 'LogitAdjustedLoss'"),
    "same criterion": (adjusted, adjusted, SAME, ""),
    "labels": (with_label_out_of_range, DV, SAME, "1 are out of range"),
    "labels of rank 1": (DV, with_label_out_of_range, SAME, "1 are out of range"),
    "own failure": (of(OwnRadii, ONES), of(OwnRadii, KeyError("x")), SAME, ("rank 1 failed", "'x'")),
    "own shape": (of(OwnRadii, ONES[:2]), of(OwnRadii, ONES), SAME, ("one a class", "rank 0 failed")),
    "own nan": (of(OwnRadii, ONES), of(OwnRadii, ONES / 0), SAME, ("rank 1 failed", "finite log radii")),
    "own none": (of(OwnRadii, ONES), of(OwnRadii, None), SAME, "rank 1 has none"),
    "rounding": (of(InverseFrequency, draws=[3, 2, 1]), of(InverseFrequency, draws=[3, 2, 1 + 1e-8]), SAME, ""),
    "none": (INVERSE, INVERSE, (0, None), ""),
    "own radii": (of(OwnRadii, ONES), of(OwnRadii, ONES + 1), SAME, ""),
}


def ends_of_epochs(rank):
    calls = []
    for name in ("all_reduce", "broadcast"):
        collective = getattr(dist, name)
        setattr(dist, name, lambda *args, f=collective, **options: calls.append(1) or f(*args, **options))
    said = {}
    for name, case in CASES.items():
        called, epoch = case[rank](), case[2][rank]
        weighting = getattr(called, "weighting", called)
        before, calls[:] = (weighting.epoch, weighting.has_radii, weighting.weights.clone()), []
        try:
            called.end_epoch(epoch)
            message, kept = "", None
        except Exception as error:
            message = str(error)
            kept = (weighting.epoch, weighting.has_radii) == before[:2] and torch.equal(weighting.weights, before[2])
        said[name] = {"message": message, "kept": kept, "calls": len(calls), "radius": float(weighting.log_radius[0])}
    return said


@pytest.fixture(scope="module")
def outcomes():
    return on_two_ranks(ends_of_epochs)


@pytest.mark.parametrize("name", CASES)
def test_ranks_that_differ_are_refused_on_every_rank(outcomes, name):
    words = CASES[name][3]
    first, second = (rank[name] for rank in outcomes)
    for rank, found in enumerate((first, second)):
        expected = words[rank] if isinstance(words, tuple) else words
        assert expected in found["message"]
        assert bool(found["message"]) is bool(expected)
        assert found["kept"] in (True, None)
    assert first["calls"] == second["calls"]
    assert isinstance(words, tuple) or first["message"] == second["message"]


def test_all_ranks_take_the_radii_of_rank_0(outcomes):
    assert [rank["own radii"]["radius"] for rank in outcomes] == [0.0, 0.0]
