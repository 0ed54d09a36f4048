"""Moments of classes, and that shortcuts of a step change no number and nothing that the caller holds."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from epochs import end_epochs, mixture, normal

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss
from vlltr_plugin.core.batch import batch_of, two_largest

CLASSES, BATCH = 6, 24


def samples_of(seed, dtype=torch.float32):
    labels = torch.randint(CLASSES - 1, (BATCH,), generator=torch.Generator().manual_seed(seed))
    return 10 + normal(BATCH, CLASSES, seed=seed).to(dtype), labels, mixture(labels, CLASSES, dtype=dtype)


@pytest.mark.parametrize(("variant", "features"), [("dv", None), ("bv", None), ("pv", None), ("dv", 4), ("bv", 4)])
@pytest.mark.parametrize("assign", ["dominant", "mass"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gpu_path_gives_the_statistics_of_the_cpu_path(variant, features, assign, soft, masked):
    """The second is a GPU's, where ignored rows stay; with fewer than 128 classes both are float64."""
    options = {"variant": variant, "features": features, "assign": assign}
    looking, blind = (ClassVolume([9] * CLASSES, **options) for _ in range(2))
    for seed in range(3):
        rows, labels, mixed = samples_of(seed)
        targets = mixed if soft else labels
        kept = (normal(BATCH, seed=seed) < 0.5) | (not masked)
        looking.observe(rows[kept], targets[kept], smoothing=0.1)
        rows[~kept] = torch.nan
        batch = batch_of(rows, targets, CLASSES, 0.1)
        blind.observe_batch(replace(batch, kept=kept if masked else None, cheap=False))
    for name, value in vars(looking._moments).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, getattr(blind._moments, name), rtol=1e-12, atol=0)
    end_epochs(looking, blind)
    assert blind.skipped == 0


@pytest.mark.parametrize("variant", ["dv", "bv", "pv"])
@pytest.mark.parametrize("assign", ["dominant", "mass"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [CLASSES, 130])
def test_a_step_changes_no_tensor_of_the_caller(variant, assign, dtype, classes):
    rows, labels, mixed = samples_of(0, dtype)
    rows, mixed = (F.pad(t, (0, classes - CLASSES), value=float(t.min())) for t in (rows, mixed))
    mixed = mixed / mixed.sum(dim=1, keepdim=True)
    smoothing = float(mixed.min()) * classes
    criterion = ReweightedLoss(ClassVolume([9] * classes, variant=variant, assign=assign), smoothing=smoothing)
    logits = rows.clone().requires_grad_()
    for targets in (labels, mixed):
        before = targets.clone()
        criterion(logits, targets).backward()
        assert torch.equal(logits.detach(), rows)
        assert torch.equal(targets, before)


@pytest.mark.parametrize("base", ["softmax", "sigmoid", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_can_be_differentiated_twice_and_by_its_soft_targets(base, smoothing):
    rows, labels, mixed = samples_of(1, torch.float64)
    rows, labels, mixed = rows[:4].requires_grad_(), labels[:4], mixed[:4].requires_grad_()
    weighting = InverseFrequency([2**i for i in range(CLASSES)])
    criterion = ReweightedLoss(weighting, base, smoothing * 0.5)  # away from the clamp at mass 0

    def loss(logits, targets):
        return criterion._losses(batch_of(logits, targets, CLASSES, criterion.smoothing))

    assert torch.autograd.gradcheck(loss, (rows, mixed))
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), rows)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, mixed.detach()), rows)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, labels), rows)


def test_large_finite_rows_are_not_skipped():
    """Each row's sum is finite, their total is not."""
    weighting = ClassVolume([4, 4])
    weighting.observe(torch.full((4, 2), 1.2e38), torch.tensor([0, 0, 1, 1]))
    assert weighting._moments.mass.tolist() == [2, 2]
    with pytest.warns(UserWarning, match="weights stay"):
        weighting.end_epoch()
    assert weighting.skipped == 0


@pytest.mark.parametrize("columns", [1, 2, 999, 1000, 1023, 1024, 1025, 8142])
@pytest.mark.parametrize("kind", ["random", "mixtures", "ties", "bfloat16", "first", "last"])
def test_the_two_heaviest_labels_are_those_of_a_full_search(columns, kind):
    values = torch.rand(40, columns, generator=torch.Generator().manual_seed(columns))
    if kind == "mixtures":
        values = F.one_hot(values.argmax(1), columns) * 0.7 + F.one_hot(values.argmin(1), columns) * 0.3
    elif kind == "ties":
        values = torch.full_like(values, 0.25)
    elif kind == "bfloat16":
        values = values.bfloat16()
    elif kind in ("first", "last"):
        values[:, : 2 if kind == "first" else None] += 1.0
        values[:, -2:] += 2.0 if kind == "last" else 0.0
    found, places = two_largest(values)
    assert torch.equal(found, values.topk(min(2, columns), dim=1).values)
    assert torch.equal(values.gather(1, places), found)
    assert columns == 1 or bool((places[:, 0] != places[:, 1]).all())


@pytest.mark.parametrize("variant", ["dv", "bv"])
@pytest.mark.parametrize("sigmas", [300.0, 1000.0])
@pytest.mark.filterwarnings("ignore:.*no samples")
def test_a_first_sample_far_outside_its_class_costs_no_digits(variant, sigmas):
    """As a pivot for good it would leave the class of float32 sums without a volume, or off by 1e-2."""
    classes, size = 130, 40_000
    rows = normal(size, classes)
    rows[0] = sigmas * rows[0].sign()
    weighting = ClassVolume([size] + [0] * (classes - 1), variant=variant)
    for part in rows.split(400):
        weighting.observe(part, torch.zeros(len(part), dtype=torch.int64))
    weighting.end_epoch()
    wide = rows.double()
    expected = (wide[:, :1] - wide)[:, 1:] if variant == "bv" else wide
    assert float(weighting.log_radius64[0]) == pytest.approx(float(expected.std(0).log().mean()), abs=1e-4)
