"""Warnings about a training loop: each comes once where the loop is wrong, and never in an honest one."""

import copy
import pickle
import re
import warnings
from functools import partial

import pytest
import torch
from epochs import COUNTS, CRITERIA, WEIGHTINGS, normal, quiet, train, warnings_of
from torch import nn

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss, Uniform

MANY = torch.tensor([600, 300, 120])
FEW = torch.tensor([12, 6, 3])
LABELS, MANY_LABELS = (torch.repeat_interleave(torch.arange(3), counts) for counts in (FEW, MANY))


def passes(criterion, labels, size=10_000, trained=True):
    for part in labels.split(size):
        loss = criterion(torch.randn(len(part), len(criterion.drawn), requires_grad=True), part)
        if trained:
            loss.backward()


def said(loop, seed=0, **options):
    """The warnings of a loop over `FEW` about what was expected of it."""
    torch.manual_seed(seed)
    criterion = ReweightedLoss(ClassVolume(FEW, **options))
    return [message for message in warnings_of(loop, criterion) if "Expected" in message]


def epochs(labels_of, number=30):
    def loop(criterion):
        for _ in range(number):
            passes(criterion, labels_of(), 7)
            criterion.end_epoch()

    return loop


def weighted(power, times=1):
    weights = FEW.double().pow(power)[LABELS]
    return lambda: LABELS[torch.multinomial(weights, times * len(LABELS), replacement=True)]


HONEST = {
    "uniform with replacement": (weighted(0), None),
    "square root": (weighted(-0.5), FEW.sqrt()),
    "balanced": (weighted(-1), [1, 1, 1]),
    "four times as many draws": (weighted(-0.5, 4), FEW.sqrt()),
    "ten views": (lambda: LABELS.repeat(10)[torch.randperm(210)], None),
    "repeated augmentation": (lambda: LABELS[torch.randperm(21)].repeat_interleave(3)[:21], None),
    "a small labelled set": (lambda: LABELS[torch.randint(21, (30 * 21,))], None),
}


@pytest.mark.parametrize("kind", HONEST)
def test_honest_loops_are_silent(kind):
    labels_of, draws = HONEST[kind]
    assert not [words for seed in range(2) for words in said(epochs(labels_of, 8), seed, draws=draws)]


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("weighting", [ClassVolume, partial(InverseFrequency, start_epoch=2)])
def test_a_forgotten_end_epoch_warns_once_after_twenty_five_passes(made, weighting):
    criterion = CRITERIA[made](weighting(MANY))
    with quiet():
        passes(criterion, MANY_LABELS.repeat(25))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        passes(criterion, MANY_LABELS.repeat(4), 1020)
    assert [("end_epoch()" in str(warning.message)) for warning in caught] == [True]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("weighting", "ender"),
    [
        ("dv", lambda criterion: criterion),
        ("dv", lambda criterion: criterion.weighting),
        ("inverse", None),
        ("none", None),
    ],
    ids=["criterion", "weighting", "weights that never change", "no weights"],
)
def test_ended_epochs_and_weights_that_never_change_do_not_warn(weighting, ender):
    criterion = ReweightedLoss(WEIGHTINGS[weighting](COUNTS))
    with quiet():
        for epoch in range(8):
            train(criterion, epoch)
            if ender:
                ender(criterion).end_epoch()


@pytest.mark.parametrize(
    ("images", "samples", "draws", "warned"),
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
def test_the_first_warning_comes_later_for_small_sets_and_long_epochs(images, samples, draws, warned):
    criterion = ReweightedLoss(ClassVolume([images // 2] * 2, draws=draws))
    found = warnings_of(passes, criterion, torch.arange(samples) % 2)
    assert ["end_epoch()" in message for message in found] == [True] * warned


@pytest.mark.parametrize(("ranks", "warned"), [(1, False), (2, True)])
def test_the_samples_of_all_ranks_count_as_passes(monkeypatch, ranks, warned):
    monkeypatch.setattr("vlltr_plugin.core.loop_checks.world_size", lambda: ranks)
    found = warnings_of(passes, ReweightedLoss(ClassVolume(MANY)), torch.zeros(14_000, dtype=torch.int64))
    assert ["end_epoch()" in message for message in found] == [True] * warned


def test_class_counts_of_another_data_set_warn_once():
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    train(criterion, counts=COUNTS[::-1])
    with pytest.warns(UserWarning, match=r"class 2 was drawn 60 times, expected 12.*draws="):
        criterion.end_epoch()
    train(criterion, epoch=1, counts=COUNTS[::-1])
    with quiet():
        criterion.end_epoch()


@pytest.mark.parametrize(("draws", "warned"), [(None, True), ([1, 1, 1], False)])
def test_a_balancing_sampler_needs_its_draws(draws, warned):
    criterion = ReweightedLoss(ClassVolume(COUNTS, draws=draws))
    passes(criterion, torch.arange(105) % 3)
    assert ["draws=" in message for message in warnings_of(criterion.end_epoch)] == [True] * warned


@pytest.mark.parametrize("counts", [[1280, *[5] * 99], [500] * 10, [400, 20, 5], [30, 1]])
def test_uniform_draws_with_replacement_never_warn(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        criterion = ReweightedLoss(InverseFrequency(counts))
        drawn = labels[torch.randint(len(labels), (len(labels),), generator=generator)]
        criterion(torch.zeros(len(drawn), len(counts), requires_grad=True), drawn)
        with quiet():
            criterion.end_epoch()


@pytest.mark.parametrize(("share", "warned"), [(0.85, False), (0.95, True)])
def test_draws_are_compared_from_nine_tenths_of_an_epoch_on(share, warned):
    """Data sorted by class, and a debugging run, begin with classes in other shares."""
    criterion = ReweightedLoss(ClassVolume(MANY))
    passes(criterion, torch.repeat_interleave(torch.arange(3), torch.tensor([0, 500, 520]))[: int(1020 * share)])
    assert ["class_counts (or draws)" in message for message in warnings_of(criterion.end_epoch)] == [True] * warned


def test_ignored_elements_are_no_draws_where_they_stay_in_the_batch(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr("vlltr_plugin.core.batch.cheap_to_read", lambda tensor: False)
    criterion = ReweightedLoss(ClassVolume(FEW), ignore_index=-100)
    passes(criterion, torch.cat([LABELS, torch.full((21,), -100)]))
    criterion.end_epoch()
    assert criterion.drawn.tolist() == FEW.tolist()


@pytest.mark.parametrize("made", CRITERIA)
def test_the_same_logits_twice_warn_once(made):
    """Mixup as two calls: with statistics of each image in full for both labels."""
    criterion = CRITERIA[made](ClassVolume(COUNTS))
    rows = torch.randn(20, 3, requires_grad=True)
    for warned in (False, True):
        logits = 2 * rows
        criterion(logits, torch.arange(20) % 3)
        twice = pytest.warns(UserWarning, match=r"came twice in a row.*one call, float \[B, C\]")
        with quiet() if warned else twice:
            criterion(logits, torch.arange(20).flip(0) % 3)


@pytest.mark.parametrize("kind", ["hard", "mixed"])
def test_different_passes_do_not_count_as_repeated_logits(kind):
    criterion = ReweightedLoss(ClassVolume(COUNTS), smoothing=0.1 if kind == "mixed" else 0.0)
    rows = torch.randn(20, 3, requires_grad=True)
    with quiet():
        train(criterion, kind=kind)
        for _ in range(3):  # logits that are gone leave their place in memory to the next
            criterion(2 * rows, torch.arange(20) % 3)
        logits, labels = 2 * rows, torch.arange(20) % 3
        criterion(logits, labels)
        criterion.losses(logits, labels)
        with torch.no_grad():
            criterion(logits, labels)
        criterion.eval()(logits, labels)
        copied = copy.deepcopy(criterion.train())
        copied(logits, labels)
        pickle.loads(pickle.dumps(criterion))(logits, labels)
        parameter = nn.Parameter(rows.detach().clone())
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        for epoch in range(4):
            criterion(parameter, labels).backward()
            if epoch < 2:
                optimizer.step()
            else:
                criterion.end_epoch()


def test_one_tensor_that_every_pass_fills_anew_is_not_the_same_logits():
    """As replayed CUDA graphs give it."""
    kept = torch.zeros(20, 3)

    class Replayed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows):
            kept.data.copy_(rows)
            return kept

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    criterion, rows = ReweightedLoss(ClassVolume(COUNTS)), torch.randn(20, 3, requires_grad=True)
    with quiet():
        for _ in range(3):
            kept.detach_()
            logits = Replayed.apply(rows)
            assert logits is kept
            criterion(logits, torch.arange(20) % 3).backward()


def heads(number):
    def loop(criterion):
        layers = [nn.Linear(4, 3) for _ in range(number)] * (3 - number)
        for _ in range(3):
            x = torch.randn(21, 4)
            (criterion(layers[0](x), LABELS) + 0.4 * criterion(layers[1](x), LABELS)).backward()
            criterion.end_epoch()

    return loop


def a_criterion_for_each_head(criterion):
    layers, other = [nn.Linear(4, 3) for _ in range(2)], ReweightedLoss(criterion.weighting, smoothing=0.1)
    for _ in range(3):
        x = torch.randn(21, 4)
        (criterion(layers[0](x), LABELS) + 0.4 * other(layers[1](x), LABELS)).backward()
        criterion.end_epoch()


def validation_with_gradients(criterion):
    for _ in range(4):
        passes(criterion, LABELS, 7)
        passes(criterion, LABELS[::3], 7, trained=False)
        criterion.end_epoch()


def passes_before_the_first_epoch(criterion):
    for length in (29, 21, 21, 21):
        epochs(lambda length=length: LABELS.repeat(2)[torch.randperm(42)][:length], 1)(criterion)


def no_end_of_the_fourth_epoch(criterion):
    epochs(lambda: LABELS, 3)(criterion)
    passes(criterion, LABELS.repeat(11), 7)


WRONG = [
    (heads(2), "logits of one head"),
    (a_criterion_for_each_head, "logits of one head.*a weighting of its own"),
    (validation_with_gradients, "validation with gradients"),
    (passes_before_the_first_epoch, "learning-rate finder.*forget_epoch"),
    (no_end_of_the_fourth_epoch, r"end_epoch\(\)"),
]


@pytest.mark.parametrize(("loop", "words"), WRONG)
def test_a_wrong_loop_warns_once(loop, words):
    (found,) = said(loop)
    assert re.search(words, found)


def of_same_logits(first, second, layers, x, epoch):
    logits = layers[0](x)
    (first(logits, LABELS) + second(logits, LABELS)).backward()
    first.end_epoch()


def of_another_head(first, second, layers, x, epoch):
    (first(layers[0](x), LABELS) + second.losses(layers[1](x), LABELS, "mean")).backward()
    first.end_epoch()


def each_ended_by_number(first, second, layers, x, epoch):
    (first(layers[0](x), LABELS) + second(layers[1](x), LABELS)).backward()
    for criterion in (first, second):
        criterion.end_epoch(epoch)


def in_validation(first, second, layers, x, epoch):
    first(layers[0](x), LABELS).backward()
    second.eval()(layers[1](x), LABELS)
    first.end_epoch()


def made_again(first, second, layers, x, epoch):
    for criterion in (ReweightedLoss(first.weighting), first, ReweightedLoss(first.weighting)):
        criterion(layers[0](x), LABELS).backward()
    criterion.end_epoch()


def copied(first, second, layers, x, epoch):
    copy.deepcopy(first)(layers[1](x), LABELS).backward()
    in_validation(first, second, layers, x, epoch)


SHARED = [of_same_logits, of_another_head, each_ended_by_number, in_validation, made_again, copied]
OF_STATISTICS = [of_another_head, in_validation, made_again, copied]


@pytest.mark.parametrize(
    ("weighting", "loop"),
    [(InverseFrequency, loop) for loop in SHARED] + [(ClassVolume, loop) for loop in OF_STATISTICS],
)
def test_criteria_that_share_a_weighting_in_an_honest_loop_are_silent_and_have_the_weights_of_one(weighting, loop):
    weighting, alone = (weighting(FEW, start_epoch=2) for _ in range(2))
    layers = [nn.Linear(4, 3) for _ in range(2)]
    first, second, expected = ReweightedLoss(weighting), ReweightedLoss(weighting, smoothing=0.1), ReweightedLoss(alone)
    with quiet():
        for epoch in range(4):
            x = normal(21, 4, seed=epoch)
            assert torch.equal(weighting.weights, alone.weights)
            loop(first, second, layers, x, epoch)
            expected(layers[0](x), LABELS).backward()
            expected.end_epoch()
    torch.testing.assert_close(weighting.weights, alone.weights)
    assert weighting.epoch == alone.epoch == 4


def test_two_criteria_that_each_end_the_epochs_of_one_weighting_warn_once():
    weighting = InverseFrequency(FEW, start_epoch=4)
    criteria = ReweightedLoss(weighting), ReweightedLoss(weighting, smoothing=0.1)

    def loop():
        for _ in range(3):
            sum(criterion(torch.randn(21, 3, requires_grad=True), LABELS) for criterion in criteria).backward()
            for criterion in criteria:
                criterion.end_epoch()

    (found,) = warnings_of(loop)
    assert re.search(r"each end_epoch\(\) counts an epoch: give each criterion its own weighting", found)


def test_several_passes_of_one_head_do_not_warn():
    assert not said(heads(1))


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("start_epoch", [0, 2])
def test_a_criterion_that_starts_over_is_a_new_one(made, weighting, start_epoch):
    used, fresh = (CRITERIA[made](WEIGHTINGS[weighting](COUNTS, start_epoch=start_epoch)) for _ in range(2))
    for epoch in range(3):
        train(used, epoch)
        used.end_epoch()
    train(used, 3)
    used.start_over()
    for epoch in range(2):
        assert torch.equal(used.in_force(), fresh.in_force())
        found = []
        for criterion in (used, fresh):
            loss = criterion(normal(30, 3, seed=epoch).requires_grad_(), torch.arange(30) % 3).item()
            train(criterion, epoch)
            found.append({**criterion.end_epoch(), "seconds": 0, "loss": loss})
        assert found[0] == found[1]
    for name, value in fresh.state_dict().items():
        assert torch.equal(used.state_dict()[name], value), name


def test_starting_over_drops_what_was_drawn_and_which_classes_were_substituted():
    criterion = ReweightedLoss(ClassVolume([12, 6, 1]))
    epochs(lambda: LABELS[:19], 1)(criterion)
    passes(criterion, torch.zeros(5, dtype=torch.int64))
    criterion.start_over()
    assert not criterion.weighting.substituted.any()
    epochs(lambda: LABELS[:19], 1)(criterion)
    assert criterion.drawn.tolist() == [12, 6, 1]


def of_validation(criterion):
    criterion.eval()
    criterion(torch.randn(21, 3), LABELS)
    criterion.train()


USES = {
    "none": lambda criterion: None,
    "in eval mode only": of_validation,
    "forward": lambda criterion: passes(criterion, LABELS),
    "losses": lambda criterion: criterion.losses(torch.randn(21, 3), LABELS),
    "observe": lambda criterion: criterion.observe(torch.randn(21, 3), LABELS),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("weighting", [InverseFrequency, Uniform])
def test_a_criterion_that_gives_no_training_loss_is_noticed_once_where_it_has_weights(use, weighting):
    def loop(criterion):
        for _ in range(3):
            USES[use](criterion)
            criterion.end_epoch()

    warned = weighting is InverseFrequency and use in ("none", "in eval mode only")
    found = warnings_of(loop, ReweightedLoss(weighting(FEW)))
    assert ["nothing was re-weighted" in message for message in found] == [True] * warned
