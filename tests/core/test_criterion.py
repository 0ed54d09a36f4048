"""The loss of a criterion against a float64 loop over elements and constituents, and copies of a criterion."""

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from epochs import Brier, end_epochs, normal, per_sample
from oracles import element_loss, elements, mean_loss, observed

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    FocalLosses,
    InverseFrequency,
    LogitAdjustedLoss,
    ReweightedLoss,
    Uniform,
)

COUNTS = [900, 200, 40, 9, 3]
CLASSES = len(COUNTS)
IGNORED = 255
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}


# name: (base, its loss in the oracles)
BASES = {
    "softmax": ("softmax", "softmax"),
    "sigmoid": ("sigmoid", "sigmoid"),
    "focal": ("focal", "focal"),
    "focal, gamma 0": (FocalLosses(0.0), "sigmoid"),
    "callable": (per_sample, "softmax"),
    "a user's own": (Brier(), "brier"),
}
TAUS = [0.0, 0.5, 1.0, 2.0]
WEIGHTINGS = {
    "volume": lambda: observed(ClassVolume(COUNTS)),
    "inverse": lambda: InverseFrequency(COUNTS),
    "letter": lambda: InverseFrequency(COUNTS, draws=[9, 7, 5, 3, 1], counts="dataset", normalize="dataset"),
    "effective": lambda: EffectiveNumber(COUNTS, 0.99),
    "none": lambda: Uniform(COUNTS),
}


def batch_of(kind, shape, smoothing=0.0, dtype=torch.float32, seed=0):
    """Logits `[B, C, ...]` and targets: hard labels, some of them ignored, mixtures of two, or of all but one."""
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(shape[0], CLASSES, *shape[1:], generator=generator, dtype=torch.float64)).to(dtype)
    labels = torch.randint(CLASSES, shape, generator=generator)
    if kind in ("hard", "ignored"):
        ignored = (torch.rand(shape, generator=generator) < 0.4) & (kind == "ignored")
        return logits, labels.masked_fill(ignored, IGNORED)
    if kind == "mixed":
        share = torch.rand(shape, generator=generator, dtype=torch.float64)[..., None]
        masses = share * F.one_hot(labels, CLASSES) + (1 - share) * F.one_hot(labels.flip(0), CLASSES)
    else:
        masses = torch.rand(*shape, CLASSES, generator=generator, dtype=torch.float64)
        masses.scatter_(-1, labels[..., None], 0.0)
        masses /= masses.sum(dim=-1, keepdim=True)
    targets = ((1 - smoothing) * masses + smoothing / CLASSES).movedim(-1, 1)
    return logits, targets.to(torch.float32 if dtype.itemsize == 2 else dtype)


def made(form, weighting, smoothing):
    """The criterion of a base loss, or of a tau."""
    if form in BASES:
        return ReweightedLoss(weighting, BASES[form][0], smoothing, ignore_index=IGNORED)
    return LogitAdjustedLoss(weighting, form, smoothing, ignore_index=IGNORED)


def expected_loss(form, weighting, logits, targets, smoothing, weighted=True):
    """By the loop. A callable smooths by itself."""
    alpha, ones = weighting.weights.double(), [1.0] * CLASSES
    if form not in BASES:
        margins = (form if weighted else 0.0) * alpha.log().view(1, -1, *[1] * (logits.ndim - 2))
        return mean_loss("softmax", logits.double() - margins, targets, ones, smoothing, IGNORED)
    if form == "callable":
        targets = (targets.double() - smoothing / CLASSES) / (1 - smoothing) if targets.is_floating_point() else targets
        smoothing = 0.0
    return mean_loss(BASES[form][1], logits, targets, alpha.tolist() if weighted else ones, smoothing, IGNORED)


@pytest.mark.parametrize("kind", ["hard", "mixed", "many", "ignored"])
@pytest.mark.parametrize("shape", [(6,), (3, 2, 2)], ids=["samples", "dense"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("form", [*BASES, *TAUS])
def test_the_loss_is_the_mean_of_weighted_constituents_or_lowered_logits_and_plain_in_eval_mode(
    form, smoothing, shape, kind
):
    """`losses` stay weighted in eval mode."""
    for name, make in WEIGHTINGS.items():
        weighting = make()
        assert name == "none" or weighting.weights.max() > 2 * weighting.weights.min()
        criterion = made(form, weighting, smoothing)
        for dtype, tolerance in TOLERANCE.items():
            logits, targets = batch_of(kind, shape, smoothing, dtype)
            logits.requires_grad_()
            # training refuses mixtures of more labels where it observes
            unseen = kind == "many" and name == "volume"
            loss = criterion.losses(logits, targets).mean() if unseen else criterion(logits, targets)
            near = tolerance if form in BASES else max(tolerance, 1e-6)  # weights are float32
            assert loss.item() == pytest.approx(expected_loss(form, weighting, logits, targets, smoothing), rel=near)
            assert loss.shape == ()
            assert loss.requires_grad
            with torch.no_grad():
                assert criterion(logits, targets).item() == pytest.approx(loss.item(), rel=1e-6)
            weighted = criterion.losses(logits, targets)
            assert torch.equal(criterion.eval().losses(logits, targets), weighted)
            plain = expected_loss(form, weighting, logits, targets, smoothing, weighted=False)
            assert criterion(logits, targets).item() == pytest.approx(plain, rel=tolerance)
            assert name == "none" or form == 0.0 or plain != pytest.approx(loss.item(), rel=1e-3)
            criterion.train()


@pytest.mark.parametrize("form", BASES)
@pytest.mark.parametrize("shape", [(9,), (3, 2, 2), (2, 5, 1, 2)], ids=["samples", "dense", "volumes"])
def test_the_losses_of_elements_stand_in_their_places_and_are_0_where_ignored(form, shape):
    logits, targets = batch_of("ignored", shape, dtype=torch.float64)
    weighting = InverseFrequency(COUNTS)
    alpha, alone = weighting.weights.double().tolist(), []
    for z, label in elements(logits, targets):
        alone.append(0.0 if label == IGNORED else element_loss(BASES[form][1], z, label, alpha, 0.0))
    assert 0 < alone.count(0.0) < len(alone)
    each = made(form, weighting, 0.0).losses(logits, targets)
    assert each.shape == targets.shape
    assert each.flatten().tolist() == pytest.approx(alone, rel=1e-10)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("form", [*BASES, *TAUS])
@pytest.mark.parametrize("kind", ["hard", "ignored", "mixed"])
def test_reduced_losses_are_the_loss_of_a_training_pass_and_are_not_observed(form, kind, reduction):
    """The mean leaves ignored elements out."""
    criterion = made(form, InverseFrequency(COUNTS), 0.1)
    logits, targets = batch_of(kind, (3, 4), 0.1, torch.float64)
    found = criterion.losses(logits, targets, reduction)
    assert not criterion._checks.drawn.any()
    torch.testing.assert_close(found, criterion(logits.requires_grad_(), targets, reduction=reduction).detach())
    with pytest.raises(ValueError, match="reduction"):
        criterion.losses(logits, targets, "median")


@pytest.mark.parametrize("criterion", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("kind", ["ignored", "mixed"])
@pytest.mark.parametrize("variant", ["dv", "bv", "pv"])
def test_a_dense_batch_has_the_loss_and_the_unadjusted_statistics_of_its_elements(criterion, kind, variant):
    options = {"smoothing": 0.1, "ignore_index": IGNORED}
    made = [one(ClassVolume(COUNTS, variant=variant), **options) for one in (criterion, criterion, ReweightedLoss)]
    dense, flat, plain = made
    for seed in range(4):
        logits, targets = batch_of(kind, (9, 3, 2), 0.1, seed=seed)
        in_rows = targets.flatten() if kind == "ignored" else targets.movedim(1, -1).reshape(-1, CLASSES)
        kept = in_rows != IGNORED if kind == "ignored" else torch.ones(len(in_rows), dtype=torch.bool)
        rows, in_rows = logits.movedim(1, -1).reshape(-1, CLASSES)[kept].requires_grad_(), in_rows[kept]
        logits.movedim(1, -1)[~kept.view(9, 3, 2)] = torch.nan
        torch.testing.assert_close(dense(logits.requires_grad_(), targets), flat(rows, in_rows))
        plain(rows, in_rows)
    end_epochs(*made)
    assert [one.weighting.skipped for one in made] == [0, 0, 0]
    assert torch.equal(dense.weighting.weights, flat.weighting.weights)
    assert torch.equal(dense.weighting.log_radius64, plain.weighting.log_radius64)
    assert not torch.equal(dense.weighting.weights, torch.ones(CLASSES))


COPIED_COUNTS = [30, 20, 10]
KINDS = {
    "dv": lambda: ClassVolume(COPIED_COUNTS),
    "pv": lambda: ClassVolume(COPIED_COUNTS, variant="pv"),
    "sampled bv": lambda: ClassVolume(COPIED_COUNTS, variant="bv", features=2),
    "inverse": lambda: InverseFrequency(COPIED_COUNTS, start_epoch=1),
}


def copied_batch(seed):
    return normal(60, 3, seed=seed, requires_grad=True), torch.arange(60) % 3


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
def test_a_copy_and_its_original_have_separate_statistics(kind, way, epochs):
    both, one, other = (ReweightedLoss(KINDS[kind]()) for _ in range(3))
    for criterion in (both, one, other):
        for epoch in range(epochs):
            criterion(*copied_batch(epoch))
            criterion.end_epoch()
        criterion(*copied_batch(7))  # of the epoch in which the copy is made
    twin = way(both)
    for criterion, alone, seed in ((both, one, 8), (twin, other, 9)):
        criterion(*copied_batch(seed))
        alone(*copied_batch(seed))
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
    criterion = ReweightedLoss(ClassVolume(COPIED_COUNTS))
    replica = criterion._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match=r"DataParallel.*criterion\(model\(images\), targets\)"):
        replica(*copied_batch(0))
    with torch.no_grad():
        torch.testing.assert_close(replica(*copied_batch(0)), criterion(*copied_batch(0)))
    frequencies = ReweightedLoss(InverseFrequency(COPIED_COUNTS))
    torch.testing.assert_close(
        frequencies._replicate_for_data_parallel()(*copied_batch(0)), frequencies(*copied_batch(0))
    )
