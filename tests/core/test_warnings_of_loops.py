"""What a criterion says of a loop over several epochs, and that honest loops are silent."""

import warnings

import pytest
import torch
from torch import nn

from vlltr_plugin import ClassVolume, ReweightedLoss

COUNTS = torch.tensor([12, 6, 3])
LABELS = torch.repeat_interleave(torch.arange(3), COUNTS)


def said(loop, seed=0, **options):
    """First words of the warnings of a loop."""
    torch.manual_seed(seed)
    criterion = ReweightedLoss(ClassVolume(COUNTS, **options))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop(criterion)
    return [str(warning.message) for warning in caught if "Expected" in str(warning.message)]


def batches(labels):
    for part in labels.split(7):
        yield torch.randn(len(part), 3, requires_grad=True), part


def epochs(labels_of, number=30):
    def loop(criterion):
        for _ in range(number):
            for rows, part in batches(labels_of()):
                criterion(rows, part).backward()
            criterion.end_epoch()

    return loop


def weighted(power, times=1):
    weights = COUNTS.double().pow(power)[LABELS]
    return lambda: LABELS[torch.multinomial(weights, times * len(LABELS), replacement=True)]


HONEST = {
    "uniform with replacement": (weighted(0), None),
    "square root": (weighted(-0.5), COUNTS.sqrt()),
    "balanced": (weighted(-1), [1, 1, 1]),
    "four times as many draws": (weighted(-0.5, 4), COUNTS.sqrt()),
    "ten views": (lambda: LABELS.repeat(10)[torch.randperm(210)], None),
    "repeated augmentation": (lambda: LABELS[torch.randperm(21)].repeat_interleave(3)[:21], None),
    "a small labelled set": (lambda: LABELS[torch.randint(21, (30 * 21,))], None),
}


@pytest.mark.parametrize("kind", HONEST)
def test_honest_loops_are_silent(kind):
    labels_of, draws = HONEST[kind]
    assert not [words for seed in range(2) for words in said(epochs(labels_of, 8), seed, draws=draws)]


def test_a_first_epoch_with_other_passes_before_it_is_said_once():
    lengths = iter([29, 21, 21, 21])
    (words,) = said(epochs(lambda: LABELS.repeat(2)[torch.randperm(42)][: next(lengths)], 4))
    assert "forget_epoch()" in words
    assert "learning-rate finder" in words


def test_validation_with_gradients_is_said_once():
    def loop(criterion):
        for _ in range(4):
            for rows, part in batches(LABELS):
                criterion(rows, part).backward()
            for rows, part in batches(LABELS[::3]):
                criterion(rows, part)
            criterion.end_epoch()

    (words,) = said(loop)
    assert "validation with gradients" in words


@pytest.mark.parametrize("heads", [1, 2])
def test_several_heads_are_said_once_and_several_passes_of_one_are_not(heads):
    def loop(criterion):
        layers = [nn.Linear(4, 3) for _ in range(heads)] * (3 - heads)
        for _ in range(3):
            x = torch.randn(21, 4)
            (criterion(layers[0](x), LABELS) + 0.4 * criterion(layers[1](x), LABELS)).backward()
            criterion.end_epoch()

    assert len(said(loop)) == heads - 1


def test_a_loop_that_stops_ending_epochs_is_told():
    def loop(criterion):
        epochs(lambda: LABELS, 3)(criterion)
        for _ in range(11):
            for rows, part in batches(LABELS):
                criterion(rows, part).backward()

    (words,) = said(loop)
    assert "end_epoch()" in words


@pytest.mark.parametrize(
    ("images", "samples", "draws", "told"),
    [
        (40, 65_536, None, False),  # an epoch of FixMatch
        (40, 120_000, None, True),
        (1000, 25_000, None, False),
        (1000, 30_000, None, True),
        (1000, 65_536, [32_768, 32_768], False),
        (100, 2_000_000, [100_000, 100_000], False),
        (100, 2_010_000, [100_000, 100_000], True),
    ],
)
def test_a_first_end_is_missed_after_many_passes_and_later_where_few_images_are_labelled(images, samples, draws, told):
    criterion = ReweightedLoss(ClassVolume([images // 2] * 2, draws=draws))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for part in (torch.arange(samples) % 2).split(10_000):
            criterion(torch.randn(len(part), 2, requires_grad=True), part).backward()
    assert ["end_epoch()" in str(warning.message) for warning in caught] == [True] * told


@pytest.mark.parametrize(("ranks", "told"), [(1, False), (2, True)])
def test_a_missed_end_is_judged_by_the_samples_of_all_ranks(monkeypatch, ranks, told):
    monkeypatch.setattr("vlltr_plugin.core.loop_checks.world_size", lambda: ranks)
    criterion = ReweightedLoss(ClassVolume([600, 300, 120]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        criterion(torch.randn(14_000, 3, requires_grad=True), torch.zeros(14_000, dtype=torch.int64))
    assert ["end_epoch()" in str(warning.message) for warning in caught] == [True] * told


@pytest.mark.parametrize(("share", "told"), [(0.85, False), (0.95, True)])
def test_other_counts_are_said_once_as_many_samples_came_as_an_epoch_has(share, told):
    """Data sorted by class, and a debugging run, begin with classes in other shares."""
    criterion = ReweightedLoss(ClassVolume([600, 300, 120]))
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([0, 500, 520]))[: int(1020 * share)]
    criterion(torch.randn(len(labels), 3, requires_grad=True), labels).backward()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        criterion.end_epoch()
    assert ["class_counts (or draws)" in str(warning.message) for warning in caught] == [True] * told


def test_ignored_elements_are_no_draws_where_they_stay_in_the_batch(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr("vlltr_plugin.core.batch.cheap_to_read", lambda tensor: False)
    criterion = ReweightedLoss(ClassVolume(COUNTS), ignore_index=-100)
    criterion(torch.randn(42, 3, requires_grad=True), torch.cat([LABELS, torch.full((21,), -100)])).backward()
    criterion.end_epoch()
    assert criterion.drawn.tolist() == COUNTS.tolist()


def test_starting_over_drops_what_was_drawn_and_which_classes_were_substituted():
    criterion = ReweightedLoss(ClassVolume([12, 6, 1]))
    epochs(lambda: LABELS[:19], 1)(criterion)
    criterion(torch.randn(5, 3, requires_grad=True), torch.zeros(5, dtype=torch.int64))
    criterion.start_over()
    assert not criterion.weighting.substituted.any()
    epochs(lambda: LABELS[:19], 1)(criterion)
    assert criterion.drawn.tolist() == [12, 6, 1]
