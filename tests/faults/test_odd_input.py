"""Odd logits, counts, draws and batches: sound weights, or an error that says so before anything changes."""

import math
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import SequentialSampler, WeightedRandomSampler

from vlltr_plugin import ClassVolume, FocalLosses, LogitAdjustedLoss, ReweightedLoss, Weighting, build_weighting
from vlltr_plugin.core.epoch_statistics import expected_alpha
from vlltr_plugin.core.frequency import FrequencyWeighting
from vlltr_plugin.training.draws import class_counts_of, expected_draws

VOLUMES = ("dv", "bv", "pv")
FREQUENCIES = ("none", "inverse", "inverse_sqrt", "effective_number")
SMOOTHING = 0.1


def build(kind: str, counts: Any, draws: Any = None, **options: Any) -> Weighting:
    if kind in VOLUMES:
        return ClassVolume(counts, draws, variant=kind, **options)
    return build_weighting(kind, counts, draws, **options)


def made(kind: str, counts: Any, draws: Any = None, **options: Any) -> Weighting:
    """A weighting of that kind, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(kind, counts, draws, **options)


def ended(weighting: Weighting) -> Tensor:
    """The weights after an epoch, once they are proven sound: finite, positive, of mean 1, fit to be saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighting.end_epoch()
    weights = weighting.weights
    assert bool(weights.isfinite().all())
    assert bool((weights > 0).all())
    assert expected_alpha(weights, weighting.draws) == pytest.approx(1, abs=1e-5)
    weighting.check_state(weighting.state_dict())
    return weights.clone()


def soft(labels: Tensor, classes: int, smoothing: float = SMOOTHING, share: float = 0.7) -> Tensor:
    """Mixtures of each label and its partner in the flipped batch, smoothed."""
    hard = F.one_hot(labels, classes).float()
    return (1 - smoothing) * (share * hard + (1 - share) * hard.flip(0)) + smoothing / classes


quick = settings(max_examples=40, deadline=None)


@st.composite
def odd_epochs(draw):
    """Classes, and epochs of batches whose logits are anything: spoiled, huge, tiny, constant, of one class."""
    classes = draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    epochs = []
    for _ in range(2):
        sizes = st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e5, 1e36])
        scale = torch.tensor(draw(st.lists(sizes, min_size=5, max_size=5)))
        seen = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes))
        dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.float64]))
        batches = []
        for _ in range(3):
            size = draw(st.sampled_from([1, 2, 9]))
            labels = torch.tensor(seen)[torch.randint(len(seen), (size,), generator=generator)]
            logits = torch.randn(size, classes, generator=generator) * scale[labels][:, None]
            if draw(st.booleans()):
                row, column = draw(st.integers(0, size - 1)), draw(st.integers(0, classes - 1))
                logits[row, column] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
            batches.append((logits.to(dtype), labels))
        epochs.append(batches)
    return classes, epochs


@settings(max_examples=100, deadline=None)
@given(odd_epochs(), st.sampled_from(VOLUMES), st.sampled_from(["dominant", "mass"]), *[st.booleans()] * 2, st.data())
def test_whatever_the_logits_weights_are_sound_and_spoiled_rows_are_counted_and_left_out(
    epochs, variant, assign, mixed, debias, data
):
    classes, epochs = epochs
    variant = "dv" if classes == 1 else variant
    counts = data.draw(st.lists(st.sampled_from([0, 1, 2, 40, 10**6]), min_size=classes, max_size=classes).filter(any))
    draws = [n and data.draw(st.floats(1e-3, 1e5)) for n in counts]
    options = {"assign": assign, "debias": debias and variant != "pv"}
    weighting, reference = (made(variant, counts, draws, **options) for _ in range(2))
    for batches in epochs:
        spoiled = 0
        for logits, labels in batches:
            targets = soft(labels, classes) if mixed else labels
            sound = logits.float().isfinite().all(dim=1)
            spoiled += int((~sound).sum())
            weighting.observe(logits, targets, SMOOTHING)
            reference.observe(logits[sound], targets[sound], SMOOTHING)
        torch.testing.assert_close(ended(weighting), ended(reference), rtol=1e-6, atol=0)
        assert weighting.skipped == spoiled


def test_a_class_with_a_tiny_radius_keeps_a_positive_weight():
    weighting = ClassVolume([4, 4])
    scale = torch.tensor([1e36, 1e-30]).repeat(4)[:, None]
    weighting.observe(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)) * scale, torch.arange(8) % 2)
    assert float(ended(weighting)[1]) == torch.finfo(torch.float32).tiny


@quick
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(VOLUMES), st.booleans())
def test_batches_of_one_sample_give_the_weights_of_one_batch(seed, classes, variant, mixed):
    variant = "dv" if classes == 1 else variant
    logits = torch.randn(8 * classes, classes, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    labels = torch.arange(8 * classes) % classes
    targets = soft(labels, classes) if mixed else labels
    whole, single = (ReweightedLoss(made(variant, [8] * classes), smoothing=SMOOTHING) for _ in range(2))
    whole(logits, targets)
    for row, target in zip(logits.split(1), targets.split(1), strict=True):
        assert single(row, target).shape == ()
    torch.testing.assert_close(ended(single.weighting), ended(whole.weighting), rtol=1e-5, atol=0)


@pytest.mark.parametrize("variant", VOLUMES)
def test_classes_that_vanish_for_an_epoch_take_the_mean_radius_and_come_back(variant):
    weighting = ClassVolume([40, 40, 40], draws=[9, 3, 1], variant=variant)
    generator = torch.Generator().manual_seed(0)
    substituted = []
    for present in ([0, 1, 2], [0, 1], [1], [0, 1, 2]):
        labels = torch.tensor(present).repeat(30)
        rows = torch.randn(len(labels), 3, generator=generator) * (1.0 + labels)[:, None]
        weighting.observe(rows, labels)
        ended(weighting)
        substituted.append(weighting.substituted.tolist())
        radii = weighting.log_radius64.tolist()
        mean = sum(radii[i] for i in present) / len(present)
        assert [radii[i] for i in range(3) if i not in present] == pytest.approx([mean] * (3 - len(present)))
    assert substituted == [[False] * 3, [False, False, True], [True, False, True], [False] * 3]


@quick
@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from(["softmax", "sigmoid", "focal"]), st.booleans())
def test_finite_logits_of_any_size_give_a_finite_loss_and_gradient(seed, classes, base, mixed):
    generator = torch.Generator().manual_seed(seed)
    exponent = torch.randint(-40, 36, (4, classes), generator=generator).double()
    logits = (torch.randn(4, classes, generator=generator).sign() * 10**exponent).float().requires_grad_()
    labels = torch.randint(classes, (4,), generator=generator)
    criterion = ReweightedLoss(made("inverse", [3**i for i in range(classes)]), base, SMOOTHING)
    loss = criterion(logits, soft(labels, classes) if mixed else labels)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("kind", [*VOLUMES, *FREQUENCIES])
def test_a_row_with_nan_makes_the_loss_nan_and_leaves_the_weights(kind):
    criterion = ReweightedLoss(made(kind, [9, 6, 3]))
    logits, labels = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    logits[4, 1] = math.nan
    assert math.isnan(criterion(logits.requires_grad_(), labels).item())  # as the plain loss: the host stops there
    ended(criterion.weighting)
    assert kind not in VOLUMES or criterion.weighting.skipped == 1


def one(tensor, value, where=0):
    spoiled = tensor.clone()
    spoiled[where] = value
    return spoiled


def moved(targets):
    """Mass moved from one label to another until it is negative: the row still sums to 1."""
    return one(one(targets, targets[0, 0] - 2, (0, 0)), targets[0, 1] + 2, (0, 1))


# What is wrong -> (logits, labels, mixtures of them) to (logits, targets); least C that shows it; error.
FAULTS = {
    "label C": (lambda z, y, t: (z, one(y, z.shape[1])), 1, ValueError),
    "label -1": (lambda z, y, t: (z, one(y, -1)), 1, ValueError),
    "label -100": (lambda z, y, t: (z, one(y, -100)), 1, ValueError),
    "int32 labels": (lambda z, y, t: (z, y.int()), 1, TypeError),
    "uint8 labels": (lambda z, y, t: (z, y.to(torch.uint8)), 1, TypeError),
    "bool labels": (lambda z, y, t: (z, y.bool()), 1, TypeError),
    "complex targets": (lambda z, y, t: (z, t.to(torch.complex64)), 1, TypeError),
    "float labels": (lambda z, y, t: (z, y.float()), 1, ValueError),
    "labels [B, 1]": (lambda z, y, t: (z, y[:, None]), 1, ValueError),
    "labels [1]": (lambda z, y, t: (z, y[:1]), 1, ValueError),
    "one label []": (lambda z, y, t: (z, y[0]), 1, ValueError),
    "mixtures [1, C]": (lambda z, y, t: (z, t[:1]), 1, ValueError),
    "mixtures [C]": (lambda z, y, t: (z, t[0]), 1, ValueError),
    "mixtures [B, 1]": (lambda z, y, t: (z, t[:, :1]), 2, ValueError),
    "logits [B, 1]": (lambda z, y, t: (z[:, :1], y), 2, ValueError),
    "logits [B, C + 1]": (lambda z, y, t: (F.pad(z, (0, 1)), y), 1, ValueError),
    "logits [1, B, C]": (lambda z, y, t: (z[None], y), 1, ValueError),
    "integer logits": (lambda z, y, t: (z.long(), y), 1, TypeError),
    "rows of sum 2": (lambda z, y, t: (z, 2 * t), 1, ValueError),
    "rows of sum 0": (lambda z, y, t: (z, 0 * t), 1, ValueError),
    "one row of sum 1.5": (lambda z, y, t: (z, one(t, 1.5 * t[0])), 1, ValueError),
    "a nan mass": (lambda z, y, t: (z, one(t, math.nan, (0, 0))), 1, ValueError),
    "an infinite mass": (lambda z, y, t: (z, one(t, math.inf, (0, 0))), 1, ValueError),
    "a negative mass": (lambda z, y, t: (z, moved(t)), 2, ValueError),
    "more smoothing": (lambda z, y, t: (z, soft(y, z.shape[1], 0.2)), 3, ValueError),
    "less smoothing": (lambda z, y, t: (z, soft(y, z.shape[1], 0.05)), 3, ValueError),
    "no smoothing, not mixed": (lambda z, y, t: (z, soft(y, z.shape[1], 0.0, share=1.0)), 2, ValueError),
    "one row not smoothed": (lambda z, y, t: (z, one(t, soft(y, z.shape[1], 0.0, share=1.0)[0])), 2, ValueError),
}


def everything(criterion):
    """A copy of all that a batch might change."""
    weighting = criterion.weighting
    moments = getattr(weighting, "_moments", None)
    held = [*(vars(moments).values() if moments else ()), *weighting.buffers(), getattr(weighting, "_faults", None)]
    return [value.clone() for value in held if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    extra=st.integers(0, 3),
    kind=st.sampled_from([*VOLUMES, *FREQUENCIES]),
    how=st.sampled_from(["training", "eval", "no_grad", "observe", "losses"]),
)
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(fault, seed, extra, kind, how):
    spoil, least, error = FAULTS[fault]
    classes = max(least, 2 if kind == "bv" else 1) + extra
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(6, classes, generator=generator), torch.randint(classes, (6,), generator=generator)
    criterion = ReweightedLoss(made(kind, [5] * classes), smoothing=SMOOTHING)
    criterion(logits.requires_grad_(), labels)  # a sound batch before
    before = everything(criterion)
    batch = spoil(logits.detach(), labels, soft(labels, classes))
    call = {"observe": criterion.observe, "losses": criterion.losses}.get(how, criterion)
    criterion.train(how != "eval")
    with torch.set_grad_enabled(how != "no_grad"), pytest.raises(error, match="Expected"):
        call(*batch)
    after = everything(criterion)
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", [*VOLUMES, *FREQUENCIES])
@pytest.mark.parametrize("bad", [-1, 0.5, math.nan, math.inf, -math.inf])
def test_counts_and_draws_that_are_not_valid_are_refused(kind, bad):
    spoiled, draws = [7, bad, 3], [[1.0], [1.0] * 4, [[1.0] * 3], [0.0] * 3]
    with pytest.raises(ValueError, match=r"Expected class_counts to be (finite|whole)"):
        made(kind, spoiled)
    for given_draws in draws if bad == 0.5 else [spoiled, *draws]:
        with pytest.raises(ValueError, match=r"Expected (draws|a class)"):
            made(kind, [7, 5, 3], given_draws)


@pytest.mark.parametrize("kind", [*VOLUMES, *FREQUENCIES])
def test_counts_of_0_keep_weight_1_and_are_named_and_floats_that_are_whole_count(kind):
    with pytest.warns(UserWarning, match=r"1 of 3 classes have no samples \(1\)"):
        weights = ended(build(kind, [9, 0, 3]))
    assert weights[1] == 1
    assert torch.equal(ended(made(kind, [9.0, 0.0, 3.0])), weights)
    with pytest.raises(ValueError, match="every count"):
        made(kind, [0, 0, 0])


weight_of_an_image = st.sampled_from([0.0, 5e-324, 1e-300, 1e-3, 1.0, 7.0, 1e300])


@quick
@given(st.lists(st.tuples(st.integers(0, 3), weight_of_an_image), min_size=1, max_size=12), st.data())
def test_sampler_weights_fit_the_data_set_or_are_refused(images, data):
    targets, weights = [label for label, _ in images], [weight for _, weight in images]
    sampler = WeightedRandomSampler([1.0] * len(targets), len(targets))
    sampler.weights = torch.tensor(weights, dtype=torch.float64)
    if not any(weights):
        with pytest.raises(ValueError, match="not all 0"):
            expected_draws(sampler, targets, 4)
        return
    draws = expected_draws(sampler, targets, 4)
    assert float(draws.sum()) == pytest.approx(len(targets))
    counts = class_counts_of(targets, 4)
    if bool(((draws > 0) & (draws < 1e-12 * draws.sum())).any()):
        with pytest.raises(ValueError, match="draws of 0 or at least"):
            made("inverse", counts, draws)
    else:
        ended(made("inverse", counts, draws))
    bad = data.draw(st.sampled_from([math.nan, math.inf, -1.0]))
    bad_first = torch.cat([torch.tensor([bad]).double(), sampler.weights[1:]])
    for spoiled in (bad_first, sampler.weights[1:], sampler.weights[:, None], torch.zeros(len(targets))):
        sampler.weights = spoiled
        with pytest.raises(ValueError, match=r"Expected (finite sampler|the sampler to hold)"):
            expected_draws(sampler, targets, 4)


def test_sampler_weights_at_the_ends_of_the_number_range():
    tiny, huge = (WeightedRandomSampler([weight] * 3, 3) for weight in (5e-324, 1e308))
    assert expected_draws(tiny, [0, 1, 1], 2).tolist() == [1, 2]
    with pytest.raises(ValueError, match="finite sampler weights"):
        expected_draws(huge, [0, 1, 1], 2)


@pytest.mark.parametrize("targets", [[0, 4], [0, -1], [0, 0.5], [0, math.nan], [0, math.inf], [], [[0], [1]]], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_targets_of_a_data_set_that_are_no_labels_are_refused(targets, weighted):
    sampler = WeightedRandomSampler([1.0, 1.0], 2) if weighted else SequentialSampler([0, 1])
    for call in (lambda: class_counts_of(targets, 4), lambda: expected_draws(sampler, targets, 4)):
        with pytest.raises(ValueError, match=r"Expected .*(targets|training set)"):
            call()


@pytest.mark.parametrize("radii", [torch.zeros(1), torch.zeros(()), torch.tensor([0.0, math.nan, 1.0])], ids=str)
def test_radii_of_a_users_weighting_never_broadcast_and_are_finite(radii):
    class Own(Weighting):
        def radii(self):
            return radii

    class Known(FrequencyWeighting):
        def log_shape(self, counts):
            return radii.double()

    own = Own([3, 2, 1])
    with pytest.raises(ValueError, match="log radii"):
        own.end_epoch()
    assert own.weights.tolist() == [1, 1, 1]
    assert (own.epoch, own.has_radii) == (0, False)
    if radii.isnan().any():  # what `log_shape` gives is laid over the classes with samples
        with pytest.raises(ValueError, match="finite log radii"):
            Known([3, 2, 1])


def smoothed(smoothing):
    return ReweightedLoss(made("none", [1, 1]), smoothing=smoothing)


LOSSES = [ReweightedLoss, LogitAdjustedLoss]
OTHERS = [[3, 1], torch.tensor([3, 1]), "class_volume", None, ClassVolume]


@pytest.mark.parametrize(
    ("make", "unusable", "error", "said"),
    [
        *((FocalLosses, gamma, ValueError, "gamma") for gamma in (math.nan, math.inf, -1.0)),
        *((smoothed, smoothing, ValueError, "smoothing") for smoothing in (math.nan, -0.1, 1.0)),
        *((loss, other, TypeError, r"weighting to be a Weighting, such as") for loss in LOSSES for other in OTHERS),
    ],
)
def test_unusable_arguments_of_a_loss_are_refused(make, unusable, error, said):
    with pytest.raises(error, match=said):
        make(unusable)
