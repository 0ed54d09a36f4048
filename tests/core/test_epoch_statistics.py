"""The numbers of an epoch against naive loops, on one rank and on two."""

import datetime
import json
import math
import os
import time
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from epochs import COUNTS, CRITERIA, TOTAL, WEIGHTINGS, batches, train
from process_groups import on_two_ranks

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss


@pytest.mark.parametrize("kind", ["hard", "mixed"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_statistics_are_those_of_naive_loops_over_what_was_drawn(criterion, weighting, kind):
    criterion = CRITERIA[criterion](WEIGHTINGS[weighting](COUNTS), smoothing=0.1 if kind == "mixed" else 0.0)
    for epoch in range(2):
        alpha = criterion.in_force().double().tolist()
        train(criterion, epoch, kind)
        statistics = criterion.end_epoch()
        drawn = [0.0] * len(COUNTS)
        for _, labels in batches(epoch):
            for own, other in zip(labels.tolist(), labels.flip(0).tolist(), strict=True):
                drawn[own] += 0.7 if kind == "mixed" else 1.0
                drawn[other] += 0.3 if kind == "mixed" else 0.0
        mean = sum(n * a for n, a in zip(COUNTS, alpha, strict=True)) / TOTAL
        variance = sum(n * (a - mean) ** 2 for n, a in zip(COUNTS, alpha, strict=True)) / TOTAL
        expected = {
            "alpha_min": min(alpha),
            "alpha_median": sorted(alpha)[1],
            "alpha_max": max(alpha),
            "substituted": 0,
            "skipped": 0,
            "expected_alpha": mean,
            "drawn_alpha": sum(d * a for d, a in zip(drawn, alpha, strict=True)) / TOTAL,
            "drawn_alpha_se": math.sqrt(variance / TOTAL),
        }
        assert all(type(value) in (int, float) for value in statistics.values())
        json.dumps(statistics, allow_nan=False)
        if weighting == "dv":
            expected["log_radius_mean"] = sum(criterion.weighting.log_radius64.tolist()) / len(COUNTS)
        assert statistics.pop("seconds") >= 0
        assert statistics == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("whole", [True, False], ids=["criterion", "weighting"])
def test_an_epoch_without_batches_and_a_weighting_alone_have_no_drawn_alpha(weighting, whole):
    criterion = ReweightedLoss(WEIGHTINGS[weighting](COUNTS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was observed
        statistics = (criterion if whole else criterion.weighting).end_epoch()
    assert all(type(value) in (int, float) and math.isfinite(value) for value in statistics.values())
    assert "drawn_alpha" not in statistics
    assert statistics["alpha_max"] == float(criterion.weighting.weights.max())


@pytest.mark.parametrize("weighting", [InverseFrequency, ClassVolume])
@pytest.mark.parametrize("ender", ["criterion", "weighting"])
def test_an_epoch_draws_its_own_samples_only_without_evaluation_and_ignored_elements(weighting, ender):
    criterion = ReweightedLoss(weighting(COUNTS), ignore_index=-100)
    train(criterion)
    (criterion if ender == "criterion" else criterion.weighting).end_epoch()
    others = torch.randn(4, 3, requires_grad=True), torch.tensor([2, 2, 2, 2])
    with torch.no_grad():
        criterion(*others)
    criterion.eval()(*others)
    assert weighting is InverseFrequency or criterion.weighting._moments is None
    for _ in range(5):
        criterion.train()(torch.randn(4, 3, requires_grad=True), torch.tensor([0, 0, -100, -100]))
    assert weighting is InverseFrequency or criterion.weighting._moments.mass.tolist() == [10, 0, 0]
    in_force = criterion.in_force()
    assert criterion.end_epoch()["drawn_alpha"] == pytest.approx(float(in_force[0]))
    assert criterion.drawn.tolist() == [10, 0, 0]


def two_epochs(rank, world=2):
    criterion, found = ReweightedLoss(ClassVolume(COUNTS)), []
    for epoch in range(2):
        for rows, labels in batches(epoch):
            criterion(rows[rank::world].clone().requires_grad_(), labels[rank::world])
        found.append({**criterion.end_epoch(), "seconds": 0})
    return found


def test_two_ranks_return_the_statistics_of_one_process():
    first, second = on_two_ranks(two_epochs)
    assert first == second
    for found, expected in zip(first, two_epochs(0, 1), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


def on_one_rank_only(rank, world, folder):
    store = dist.FileStore(f"{folder}/meet", world)
    store.set(f"there {rank}", "")
    store.wait([f"there {other}" for other in range(world)], datetime.timedelta(seconds=120))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=datetime.timedelta(seconds=8))
    said = Path(folder, "said")
    if rank == 0:
        with pytest.raises(RuntimeError, match="call it on every rank"):
            ReweightedLoss(ClassVolume(COUNTS)).end_epoch()
        said.touch()
    for _ in range(100):
        time.sleep(0.0 if said.exists() else 0.2)
    os._exit(0)  # what is left of a broken process group may abort


def test_end_epoch_on_one_rank_only_says_so_after_the_timeout(tmp_path):
    mp.spawn(on_one_rank_only, args=(2, str(tmp_path)), nprocs=2)
    assert (tmp_path / "said").exists()
