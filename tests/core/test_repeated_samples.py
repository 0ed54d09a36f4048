"""Loops in which a sample counts more than once: the weights are those of an epoch that is seen once."""

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, ReweightedLoss

ROWS = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0], [1.0, 3.0]])
LABELS = torch.tensor([0, 0, 0, 0, 1, 1])


def leaf(rows):
    return rows.clone().requires_grad_()


def once(criterion):
    criterion(leaf(ROWS), LABELS).backward()


def sharpness_aware(criterion):
    for part in (slice(0, 3), slice(3, 6)):
        for _ in range(2):
            criterion(leaf(ROWS[part]), LABELS[part]).backward()


def accumulated(criterion):
    sum(criterion(leaf(ROWS[k : k + 2]), LABELS[k : k + 2]) for k in (0, 2, 4)).backward()


def all_parts_for_each_part(criterion):
    for _ in range(3):
        accumulated(criterion)


def dropped_out_twice(criterion):
    (criterion(leaf(ROWS), LABELS) + criterion(leaf(ROWS), LABELS)).backward()


def views_in_one_batch(criterion):
    criterion(leaf(ROWS.repeat(4, 1)), LABELS.repeat(4)).backward()


def observed_by_hand(criterion):
    for _ in range(5):
        criterion.observe(ROWS, LABELS)


def one_hot(criterion):
    for _ in range(2):
        criterion(leaf(ROWS), F.one_hot(LABELS, 2).float()).backward()


LOOPS = (
    once,
    sharpness_aware,
    accumulated,
    all_parts_for_each_part,
    dropped_out_twice,
    views_in_one_batch,
    observed_by_hand,
    one_hot,
)


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("assign", ["dominant", "mass"])
def test_the_weights_are_those_of_an_epoch_seen_once(loop, assign):
    criterion = ReweightedLoss(ClassVolume([4, 2], assign=assign))
    loop(criterion)
    criterion.end_epoch()
    sigma = [ROWS[label == LABELS].double().std(dim=0).log().mean().exp() for label in range(2)]
    raw = [float(sigma[0]) / 4, float(sigma[1]) / 2]
    beta = 6 / (4 * raw[0] + 2 * raw[1])
    assert criterion.weighting.weights.tolist() == pytest.approx([beta * raw[0], beta * raw[1]], rel=1e-6)
