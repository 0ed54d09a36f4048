"""The loss of a criterion against a float64 loop over elements and constituents, and copies of a criterion."""

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from oracles import element_loss, elements, mean_loss, observed

from vlltr_plugin import ClassVolume, EffectiveNumber, InverseFrequency, LogitAdjustedLoss, ReweightedLoss

COUNTS = [900, 200, 40, 9, 3]
CLASSES = len(COUNTS)
IGNORED = 255
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}


def per_sample(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


BASES = {"softmax": "softmax", "sigmoid": "sigmoid", "focal": "focal", "callable": per_sample}
WEIGHTINGS = {
    "volume": lambda: observed(ClassVolume(COUNTS)),
    "inverse": lambda: InverseFrequency(COUNTS),
    "letter": lambda: InverseFrequency(COUNTS, draws=[9, 7, 5, 3, 1], counts="dataset", normalize="dataset"),
    "effective": lambda: EffectiveNumber(COUNTS, 0.99),
}


def batch_of(kind, shape, smoothing=0.0, dtype=torch.float32, ignored=False, seed=0):
    """Logits `[B, C, ...]` and targets: hard labels, mixtures of two of them, or of all but one."""
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(shape[0], CLASSES, *shape[1:], generator=generator, dtype=torch.float64)).to(dtype)
    labels = torch.randint(CLASSES, shape, generator=generator)
    if kind == "hard":
        return logits, labels.masked_fill(torch.rand(shape, generator=generator) < 0.4, IGNORED) if ignored else labels
    if kind == "mixed":
        share = torch.rand(shape, generator=generator, dtype=torch.float64)[..., None]
        masses = share * F.one_hot(labels, CLASSES) + (1 - share) * F.one_hot(labels.flip(0), CLASSES)
    else:
        masses = torch.rand(*shape, CLASSES, generator=generator, dtype=torch.float64)
        masses.scatter_(-1, labels[..., None], 0.0)
        masses /= masses.sum(dim=-1, keepdim=True)
    targets = ((1 - smoothing) * masses + smoothing / CLASSES).movedim(-1, 1)
    return logits, targets.to(torch.float32 if dtype.itemsize == 2 else dtype)


@pytest.mark.parametrize("kind", ["hard", "mixed", "many"])
@pytest.mark.parametrize("shape", [(6,), (3, 2, 2)], ids=["samples", "dense"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("base", BASES)
def test_the_loss_is_the_plain_mean_of_weighted_constituents(base, smoothing, shape, kind):
    name, inner = ("softmax", 0.0) if base == "callable" else (base, smoothing)
    for made in WEIGHTINGS.values():
        weighting = made()
        alpha = weighting.weights.double().tolist()
        assert max(alpha) > 2 * min(alpha)
        criterion = ReweightedLoss(weighting, BASES[base], smoothing)
        # training refuses mixtures of more labels where it observes
        step = criterion if kind != "many" else lambda z, t, criterion=criterion: criterion.losses(z, t).mean()
        for dtype, tolerance in TOLERANCE.items():
            logits, targets = batch_of(kind, shape, smoothing, dtype)
            loss = step(logits.requires_grad_(), targets)
            if base == "callable" and smoothing and kind != "hard":
                masses = (targets.double() - smoothing / CLASSES) / (1 - smoothing)
                expected = mean_loss(name, logits, masses, alpha)
            else:
                expected = mean_loss(name, logits, targets, alpha, inner)
            assert loss.shape == ()
            assert loss.item() == pytest.approx(expected, rel=tolerance)
            assert loss.requires_grad


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("shape", [(9,), (3, 2, 2), (2, 5, 1, 2)], ids=["samples", "dense", "volumes"])
def test_ignored_elements_leave_loss_and_denominator(base, shape):
    logits, targets = batch_of("hard", shape, ignored=True, dtype=torch.float64)
    weighting = InverseFrequency(COUNTS)
    alpha = weighting.weights.double().tolist()
    criterion = ReweightedLoss(weighting, BASES[base], ignore_index=IGNORED)
    assert 0 < int((targets == IGNORED).sum()) < targets.numel()
    name = "softmax" if base == "callable" else base
    expected = mean_loss(name, logits, targets, alpha, ignore_index=IGNORED)
    assert criterion(logits, targets).item() == pytest.approx(expected, rel=1e-10)
    each = criterion.losses(logits, targets)
    assert each.shape == targets.shape
    alone = [
        0.0 if label == IGNORED else element_loss(name, z, label, alpha, 0.0) for z, label in elements(logits, targets)
    ]
    assert each.flatten().tolist() == pytest.approx(alone, rel=1e-10)


@pytest.mark.parametrize("kind", ["hard", "mixed", "many"])
@pytest.mark.parametrize("shape", [(6,), (3, 2, 2)], ids=["samples", "dense"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_the_adjusted_loss_is_the_mean_cross_entropy_of_lowered_logits(tau, smoothing, shape, kind):
    ones = [1.0] * CLASSES
    for made in WEIGHTINGS.values():
        weighting = made()
        margins = tau * weighting.weights.double().log().view(1, -1, *[1] * (len(shape) - 1))
        criterion = LogitAdjustedLoss(weighting, tau, smoothing)
        step = criterion if kind != "many" else lambda z, t, criterion=criterion: criterion.losses(z, t).mean()
        for dtype, tolerance in TOLERANCE.items():
            logits, targets = batch_of(kind, shape, smoothing, dtype)
            expected = mean_loss("softmax", logits.double() - margins, targets, ones, smoothing)
            loss = step(logits.requires_grad_(), targets)
            assert loss.shape == ()
            assert loss.item() == pytest.approx(expected, rel=max(tolerance, 1e-6))  # weights are float32
            assert loss.requires_grad


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("kind", ["hard", "mixed"])
def test_a_dense_batch_has_the_loss_and_statistics_of_its_elements(made, kind):
    dense, flat = (made(ClassVolume(COUNTS), smoothing=0.1, ignore_index=IGNORED) for _ in range(2))
    for seed in range(4):
        logits, targets = batch_of(kind, (4, 3, 2), 0.1, ignored=kind == "hard", seed=seed)
        rows = logits.movedim(1, -1).reshape(-1, CLASSES)
        in_rows = targets.flatten() if kind == "hard" else targets.movedim(1, -1).reshape(-1, CLASSES)
        kept = in_rows != IGNORED if kind == "hard" else torch.ones(len(rows), dtype=torch.bool)
        loss = dense(logits.requires_grad_(), targets)
        torch.testing.assert_close(loss, flat(rows[kept].requires_grad_(), in_rows[kept]))
    assert dense.weighting._moments.mass.sum() == flat.weighting._moments.mass.sum() > 0
    for criterion in (dense, flat):
        criterion.end_epoch()
    assert torch.equal(dense.weighting.weights, flat.weighting.weights)
    assert not torch.equal(dense.weighting.weights, torch.ones(CLASSES))


@pytest.mark.parametrize("kind", ["hard", "mixed", "many", "ignored"])
@pytest.mark.parametrize("shape", [(6,), (3, 2, 2)], ids=["samples", "dense"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("form", [*BASES, "adjusted"])
def test_in_eval_mode_the_loss_is_the_base_loss_whatever_the_weights(form, smoothing, shape, kind):
    """Comparable over the epochs, and with a baseline; `losses` and the mode of training stay weighted."""
    name = form if form in ("sigmoid", "focal") else "softmax"
    ignored, by_itself = kind == "ignored", form == "callable"  # a callable smooths by itself
    for made in WEIGHTINGS.values():
        if form == "adjusted":
            criterion = LogitAdjustedLoss(made(), 2.0, smoothing, ignore_index=IGNORED)
        else:
            criterion = ReweightedLoss(made(), BASES[form], smoothing, ignore_index=IGNORED)
        logits, targets = batch_of("hard" if ignored else kind, shape, smoothing, torch.float64, ignored=ignored)
        soft = by_itself and targets.is_floating_point()
        masses = (targets - smoothing / CLASSES) / (1 - smoothing) if soft else targets
        expected = mean_loss(name, logits, masses, [1.0] * CLASSES, 0.0 if by_itself else smoothing, IGNORED)
        weighted = criterion.losses(logits, targets)
        assert weighted.mean().item() != pytest.approx(expected, rel=1e-3)
        assert criterion.eval()(logits, targets).item() == pytest.approx(expected, rel=1e-10)
        assert torch.equal(criterion.losses(logits, targets), weighted)


COPIED_COUNTS = [30, 20, 10]
KINDS = {
    "dv": lambda: ClassVolume(COPIED_COUNTS),
    "pv": lambda: ClassVolume(COPIED_COUNTS, variant="pv"),
    "sampled bv": lambda: ClassVolume(COPIED_COUNTS, variant="bv", features=2),
    "inverse": lambda: InverseFrequency(COPIED_COUNTS, start_epoch=1),
}


def copied_batch(seed):
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
