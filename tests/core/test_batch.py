"""What counts as an element of a batch, what is refused, and how the losses of a batch become one number."""

import math
import operator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from epochs import end_epochs, normal

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, Uniform
from vlltr_plugin.core.batch import all_within_reach, are_sound, batch_of

CRITERIA = [ReweightedLoss, LogitAdjustedLoss]
COUNTS = [9, 5, 2]


def test_a_weighting_of_a_user_s_own_observes_kept_rows_only():
    class Seen(Uniform):
        uses_logits = True

        def observe(self, logits, targets, smoothing=0.0):
            self.seen = logits.shape, targets.tolist()

    criterion = ReweightedLoss(Seen(COUNTS), ignore_index=-1)
    logits = torch.randn(2, 3, 2, requires_grad=True)
    criterion(logits, torch.tensor([[0, -1], [2, 1]]))
    assert criterion.weighting.seen == ((3, 3), [0, 2, 1])
    batch = batch_of(logits[:, :, 0], torch.tensor([0, 2]), 3)
    criterion.weighting.observe_batch(replace(batch, kept=torch.tensor([False, True])))
    assert criterion.weighting.seen == ((1, 3), [2])


MULTI_LABEL = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("weighting", [Uniform, ClassVolume])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32, torch.float16])
@pytest.mark.parametrize("how", ["training", "eval", "losses", "observe"])
def test_multi_label_targets_are_refused_by_that_name(made, weighting, dtype, how):
    criterion = made(weighting(COUNTS)).train(how != "eval")
    call = {"losses": criterion.losses, "observe": criterion.observe}.get(how, criterion)
    with pytest.raises((ValueError, TypeError), match="ulti-label"):
        call(torch.randn(4, 3, requires_grad=True), MULTI_LABEL.to(dtype))


LABELS = torch.tensor([0, 1, 2, 1])
ONE_HOT = F.one_hot(LABELS, 3)
LOGITS, DENSE = torch.zeros(4, 3), torch.zeros(4, 3, 2)
REFUSED = {
    "one-hot int64": (LOGITS, ONE_HOT, r"targets\.argmax\(dim=1\)"),
    "one-hot int32": (LOGITS, ONE_HOT.int(), r"targets\.argmax\(dim=1\)"),
    "one-hot bool": (LOGITS, ONE_HOT.bool(), r"targets\.argmax\(dim=1\)"),
    "dense one-hot": (DENSE, ONE_HOT[:, :, None].expand(4, 3, 2), r"targets\.argmax\(dim=1\)"),
    "float labels": (LOGITS, LABELS.float(), r"targets\.long\(\)"),
    "int32 labels": (LOGITS, LABELS.int(), r"targets\.long\(\)"),
    "labels [B, 1]": (LOGITS, LABELS[:, None], r"targets\.squeeze\(1\)"),
    "float labels [B, 1]": (LOGITS, LABELS[:, None].float(), r"targets\.squeeze\(1\).*targets\.long\(\)"),
    "masks [B, 1, d]": (DENSE, LABELS[:, None, None].expand(4, 1, 2), r"targets\.squeeze\(1\)"),
    "a zero row": (LOGITS, ONE_HOT * (LABELS > 0)[:, None].float(), "1 rows are all 0.*ignore_index"),
    "an output object": (SimpleNamespace(logits=LOGITS), LABELS, r"its \.logits"),
    "an output dict": ({"loss": None, "out": LOGITS}, LABELS, r"logits\['out'\]"),
    "an output tuple": ((None, LOGITS), LABELS, r"logits\[1\]"),
    "a batch as targets": (LOGITS, {"pixels": LOGITS, "labels": LABELS}, r"targets\['labels'\]"),
    "lists": (LOGITS, LABELS.tolist(), r"targets to be a tensor but got list.*torch\.as_tensor\(targets\)"),
    "one sample": (LOGITS[0], LABELS[0], r"logits\[None\]"),
    "targets first": (LABELS, LOGITS, "logits come first"),
    "a label too large": (LOGITS, LABELS + 1, r"labels in 0\.\.2 but got 3.*class_counts of this data set"),
    "a label below 0": (LOGITS, LABELS - 1, "got -1"),
    "fewer labels": (LOGITS, LABELS[:3], "4 labels"),
    "fewer classes": (LOGITS[:, :2], LABELS, r"\[B, 3\].*got \[4, 2\]"),
    "dense, labels of samples": (DENSE, LABELS, "8 labels"),
    "dense, labels of classes": (DENSE, torch.zeros(4, 3, dtype=torch.int64), "8 labels"),
    "dense, labels with an axis more": (DENSE, torch.zeros(4, 2, 1, dtype=torch.int64), "8 labels"),
    "dense, masses of samples": (DENSE, torch.full((4, 3), 1 / 3), "8 labels"),
    "dense, classes last": (DENSE.movedim(1, -1), torch.zeros(4, 3, dtype=torch.int64), r"\[B, 3\].*got \[4, 2, 3\]"),
    "dense, labels to ignore": (DENSE, torch.full((4, 2), -100), "got -100"),
    "dense, a label too large": (DENSE, torch.full((4, 2), 3), "got 3"),
}


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("case", REFUSED)
def test_a_batch_that_does_not_fit_is_refused_with_advice_before_anything_is_counted(made, case):
    logits, targets, said = REFUSED[case]
    criterion = made(ClassVolume(COUNTS))
    with pytest.raises((ValueError, TypeError), match=f"Expected .*{said}") as caught:
        criterion(logits, targets)
    assert "ulti-label" not in str(caught.value)
    assert criterion.weighting._moments is None


@pytest.mark.parametrize("name", ["__call__", "observe", "losses", "check", "weighting.observe"])
@pytest.mark.parametrize(
    ("logits", "targets", "said"),
    [
        (LOGITS, LABELS.numpy(), "targets to be a tensor but got ndarray"),
        (LOGITS, None, "targets to be a tensor but got NoneType"),
        (np.ones((2, 3)), LABELS, r"logits to be a tensor but got ndarray.*torch\.as_tensor\(logits\)"),
    ],
    ids=["array", "none", "logits"],
)
def test_what_is_no_tensor_is_refused_by_name(name, logits, targets, said):
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    with pytest.raises(TypeError, match=said):
        operator.attrgetter(name)(criterion)(logits, targets)


def test_a_label_out_of_range_is_refused_beside_an_ignored_one():
    criterion = ReweightedLoss(Uniform(COUNTS), ignore_index=255)
    with pytest.raises(ValueError, match="but got 254"):
        criterion(torch.randn(3, 3), torch.tensor([255, 254, 0]))


@pytest.mark.parametrize("options", [{"variant": "dv"}, {"variant": "bv", "features": 4}], ids=["dv", "bv"])
def test_the_radius_of_a_class_of_a_million_pixels_is_that_of_a_float64_loop(options):
    classes, side, images = 129, 128, 64
    n = images * side * side
    criterion = ReweightedLoss(ClassVolume([n] + [2] * (classes - 1), **options))
    logits = normal(2, classes, side, side)
    for _ in range(images // 2):
        criterion.observe(logits, torch.zeros(2, side, side, dtype=torch.int64))
    pixels = logits.double().movedim(1, -1).reshape(-1, classes)
    if options["variant"] == "bv":
        columns = [k for k in criterion.weighting._columns.tolist() if k != 0]
        pixels = pixels[:, :1] - pixels[:, columns]
    sigma = pixels.std(dim=0, correction=0) * math.sqrt(n / (n - 1))
    criterion.end_epoch()
    assert float(criterion.weighting.log_radius64[0]) == pytest.approx(float(sigma.log().mean()), abs=1e-6)


IGNORED = {"ignore_index": -9}


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(6,), (4, 5)], ids=str)
@pytest.mark.parametrize("how", ["constructor", "call", "attribute"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_every_reduction_is_torch_s(made, reduction, shape, how, smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape[0], 3, *shape[1:], generator=generator)
    labels = torch.randint(3, shape, generator=generator)
    mixed = F.pad(logits[:, 1:].softmax(dim=1), (0, 0) * (len(shape) - 1) + (1, 0))
    for targets in (labels, labels.flatten().index_fill(0, torch.tensor([1]), -9).view(shape), mixed):
        told = {"reduction": reduction} if how == "constructor" else {}
        soft = targets is mixed
        criterion = made(Uniform(COUNTS), smoothing=0.0 if soft else smoothing, **IGNORED, **told)
        if how == "attribute":  # as fastai sets it
            criterion.reduction = reduction
        loss = criterion(logits, targets, reduction=reduction) if how == "call" else criterion(logits, targets)
        more = {} if soft else {**IGNORED, "label_smoothing": smoothing}
        torch.testing.assert_close(loss, F.cross_entropy(logits, targets, reduction=reduction, **more))


@pytest.mark.parametrize("made", CRITERIA)
def test_reductions_with_weights_agree_and_all_observe(made):
    logits, labels = normal(30, 3), torch.arange(30) % 3
    criterion = made(ClassVolume([10, 10, 10], start_epoch=0))
    for reduction in ("none", "sum", "mean"):
        each = criterion(logits.clone().requires_grad_(), labels, reduction="none").detach()
        loss = criterion(logits.clone().requires_grad_(), labels, reduction=reduction).detach()
        expected = {"none": each, "sum": each.sum(), "mean": each.sum() / 30}[reduction]
        torch.testing.assert_close(loss, expected)
        assert criterion.weighting._moments.mass.tolist() == [20, 20, 20]
        criterion.end_epoch()


@pytest.mark.parametrize("made", CRITERIA)
def test_an_unknown_reduction_of_a_call_is_refused(made):
    criterion = made(ClassVolume(COUNTS))
    with pytest.raises(ValueError, match="Expected reduction"):
        criterion(torch.randn(2, 3, requires_grad=True), torch.tensor([0, 1]), reduction="average")
    assert criterion.weighting._moments is None


EMPTY = {
    "labels": lambda more: torch.zeros(0, *more, dtype=torch.int64),
    "mixtures": lambda more: torch.zeros(0, 3, *more),
    "ignored": lambda more: torch.full((4, *more), -9),
}


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("weighting", [InverseFrequency, ClassVolume, lambda n: ClassVolume(n, variant="pv")])
@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("more", [(), (4,)], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_without_elements_to_count_has_loss_0_and_no_gradient(made, weighting, kind, smoothing, more, training):
    model, targets = torch.nn.Linear(2, 3), EMPTY[kind](more)
    size = len(targets)
    logits = model(torch.zeros(size, 2)).view(size, 3, *(1 for _ in more)).expand(size, 3, *more)
    options = {"ignore_index": -9} if kind == "ignored" else {}
    criterion = made(weighting(COUNTS), smoothing=smoothing, **options).train(training)
    loss = criterion(logits, targets)
    loss.backward()
    assert loss.item() == 0
    assert all(torch.equal(parameter.grad, torch.zeros_like(parameter)) for parameter in model.parameters())
    assert torch.equal(criterion(logits, targets, reduction="none"), torch.zeros(size, *more))
    assert torch.equal(criterion.losses(logits, targets), torch.zeros(size, *more))
    moments = getattr(criterion.weighting, "_moments", None)
    assert moments is None or moments.mass.sum() == 0


MASKED_COUNTS = [120, 80, 40]
MASKS = {
    "-1e9": -1e9,
    "-1e8": -1e8,
    "float16": torch.finfo(torch.float16).min,  # in bfloat16 its own
    "bfloat16": torch.finfo(torch.bfloat16).min,
    "float32": torch.finfo(torch.float32).min,
    "-inf": -torch.inf,
    "inf": torch.inf,
    "nan": torch.nan,
}
MASKED_VARIANTS = [{"variant": "dv"}, {"variant": "bv"}, {"variant": "pv"}, {"variant": "dv", "features": 2}]


def masked_batch(seed):
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(MASKED_COUNTS))
    spread = torch.tensor([[1.0], [3.0], [0.5]])[labels]
    return spread * normal(240, 3, seed=seed), labels, normal(240, seed=seed + 9) < -0.8


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", MASKED_VARIANTS, ids=str)
@pytest.mark.parametrize("way", ["observe", "without looking", "bfloat16", "soft"])
def test_rows_with_masked_logits_do_not_count(mask, options, way):
    told, spared = (ClassVolume(MASKED_COUNTS, **options) for _ in range(2))
    skipped = 0
    for seed in range(2):
        logits, labels, masked = masked_batch(seed)
        column = 0 if told._columns is None else int(told._columns[0])
        logits = logits.to(torch.bfloat16 if way == "bfloat16" else torch.float32)
        logits[masked, column] = torch.finfo(logits.dtype).min if mask == "float16" else MASKS[mask]
        targets = F.one_hot(labels, 3).float() if way == "soft" else labels
        if way == "without looking":
            told.observe_batch(replace(batch_of(logits, targets, 3), cheap=False))
        else:
            told.observe(logits, targets)
        spared.observe(logits[~masked], targets[~masked])
        skipped += int(masked.sum())
    end_epochs(told, spared)
    assert (told.skipped, spared.skipped) == (skipped, 0)
    torch.testing.assert_close(told.weights, spared.weights, rtol=1e-5, atol=0)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("variant", ["dv", "bv", "pv"])
@pytest.mark.parametrize("sound", [0, 1])
def test_an_epoch_that_leaves_rows_out_says_how_many_and_what_to_do(mask, variant, sound):
    criterion = ReweightedLoss(ClassVolume(MASKED_COUNTS, variant=variant))
    logits, labels, _ = masked_batch(0)
    masked = logits.clone()
    masked[sound:, 2] = MASKS[mask]
    criterion(masked.requires_grad_(), labels)
    said = (
        rf"{240 - sound} of 240 rows were not finite, or masked{'' if sound else r'.*criterion.observe'}.*weights stay"
    )
    with pytest.warns(UserWarning, match=said) as caught:
        criterion.end_epoch()
    assert "eval mode" not in str(caught[0].message)
    assert criterion.weighting.skipped == 240 - sound
    assert torch.equal(criterion.weighting.weights, torch.ones(3))
    with pytest.warns(UserWarning, match="eval mode"):
        criterion.end_epoch()
    criterion.observe(logits, labels)
    criterion.losses(masked, labels).mean().backward()
    criterion.end_epoch()
    assert criterion.weighting.has_radii


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 3e3, 2e4, 1e6, 1e12, 1e36])
@pytest.mark.parametrize("classes", [1, 2, 3, 100])
@pytest.mark.parametrize("offset", [0.0, 10.0, -10.0])
@pytest.mark.parametrize("half", [False, True])
def test_logits_of_any_scale_are_sound(scale, classes, offset, half):
    logits = scale * (normal(500, classes) + offset)
    logits = logits.half().float() if half and scale < 1e4 else logits
    finite = logits.isfinite().all(dim=1)
    assert torch.equal(are_sound(logits), finite)
    assert scale > 3e3 or finite.all()
    assert all_within_reach(logits) or scale > 1e3
