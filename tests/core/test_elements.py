"""What counts as an element of a batch: pixels of dense logits, ignored labels, targets of several labels."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, Uniform
from vlltr_plugin.core.batch import batch_of

CRITERIA = [ReweightedLoss, LogitAdjustedLoss]
COUNTS = [9, 5, 2]


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 2)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_it_is_torch_s_cross_entropy(made, shape, smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape[0], 3, *shape[1:], generator=generator)
    labels = torch.randint(3, shape, generator=generator)
    for ignore_index in (None, -100, 2):
        if ignore_index == -100:
            labels = labels.flatten().index_fill(0, torch.tensor([1]), -100).view(shape)
        elif ignore_index is not None:
            labels = labels.clamp(min=0)
        criterion = made(Uniform(COUNTS), smoothing=smoothing, ignore_index=ignore_index)
        told = {"label_smoothing": smoothing, "ignore_index": -7 if ignore_index is None else ignore_index}
        torch.testing.assert_close(criterion(logits, labels), F.cross_entropy(logits, labels, **told))
        each = F.cross_entropy(logits, labels, **told, reduction="none")
        torch.testing.assert_close(criterion.losses(logits, labels), each)
    masses = torch.rand(shape[0], 3, *shape[1:], generator=generator)
    masses[:, 0] = 0
    masses /= masses.sum(dim=1, keepdim=True)
    criterion = made(Uniform(COUNTS))
    torch.testing.assert_close(criterion(logits, masses), F.cross_entropy(logits, masses))
    torch.testing.assert_close(criterion.losses(logits, masses), F.cross_entropy(logits, masses, reduction="none"))


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("shape", [(4,), (2, 3), (0,)], ids=str)
def test_where_all_is_ignored_the_loss_is_0_and_teaches_nothing(made, shape):
    criterion = made(ClassVolume(COUNTS), ignore_index=-100)
    logits = torch.randn(shape[0], 3, *shape[1:], requires_grad=True)
    labels = torch.full(shape, -100)
    loss = criterion(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert torch.equal(criterion.losses(logits, labels), torch.zeros(shape))
    assert criterion.weighting._moments is None or criterion.weighting._moments.mass.sum() == 0
    with pytest.warns(UserWarning, match="all ignored"):
        criterion.end_epoch()


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("variant", ["dv", "bv", "pv"])
def test_ignored_elements_leave_the_statistics_whatever_their_logits(made, variant):
    told, spared = (made(ClassVolume(COUNTS, variant=variant), ignore_index=9) for _ in range(2))
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        logits, labels = torch.randn(40, 3, generator=generator), torch.arange(40) % 3
        ignored = torch.rand(40, generator=generator) < 0.3
        logits[ignored] = math.nan
        loss = told(logits.clone().requires_grad_(), labels.masked_fill(ignored, 9))
        torch.testing.assert_close(loss, spared(logits[~ignored].requires_grad_(), labels[~ignored]))
    for criterion in (told, spared):
        criterion.end_epoch()
    assert told.weighting.skipped == 0
    assert torch.equal(told.weighting.weights, spared.weighting.weights)


@pytest.mark.parametrize("assign", ["dominant", "mass"])
def test_rows_left_out_without_looking_are_rows_taken_out(assign):
    """The first is a GPU's way."""
    blind, looking = (ClassVolume(COUNTS, assign=assign) for _ in range(2))
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        logits, labels = torch.randn(40, 3, generator=generator), torch.arange(40) % 3
        kept = torch.rand(40, generator=generator) < 0.7
        logits[~kept] = math.nan
        blind.observe_batch(replace(batch_of(logits, labels, 3), kept=kept, cheap=False))
        looking.observe(logits[kept], labels[kept])
    for weighting in (blind, looking):
        weighting.end_epoch()
    assert blind.skipped == 0
    torch.testing.assert_close(blind.weights, looking.weights, rtol=1e-6, atol=0)


@pytest.mark.parametrize("made", CRITERIA)
def test_on_a_device_that_must_not_be_waited_for_ignored_elements_are_masked(made):
    """On `meta` every look at the data raises."""
    for shape in ((6,), (2, 3)):
        criterion = made(ClassVolume(COUNTS), ignore_index=9)
        logits = torch.randn(shape[0], 3, *shape[1:], device="meta", requires_grad=True)
        labels = torch.zeros(shape, dtype=torch.int64, device="meta")
        criterion(logits, labels).backward()
        assert criterion.losses(logits, labels).shape == shape


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


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_multi_label_targets_are_refused_by_the_statistics_too(dtype):
    with pytest.raises((ValueError, TypeError), match="ulti-label"):
        ClassVolume(COUNTS).observe(torch.randn(4, 3), MULTI_LABEL.to(dtype))


ONE_HOT = F.one_hot(torch.tensor([0, 1, 2, 1]), 3)
LABELS = torch.tensor([0, 1, 2, 1])
LOGITS = torch.zeros(4, 3)
OF_ANOTHER_KIND = {
    "one-hot int64": (LOGITS, ONE_HOT, r"targets\.argmax\(dim=1\)"),
    "one-hot int32": (LOGITS, ONE_HOT.int(), r"targets\.argmax\(dim=1\)"),
    "one-hot bool": (LOGITS, ONE_HOT.bool(), r"targets\.argmax\(dim=1\)"),
    "dense one-hot": (torch.zeros(4, 3, 2), ONE_HOT[:, :, None].expand(4, 3, 2), r"targets\.argmax\(dim=1\)"),
    "float labels": (LOGITS, LABELS.float(), r"targets\.long\(\)"),
    "int32 labels": (LOGITS, LABELS.int(), r"targets\.long\(\)"),
    "labels [B, 1]": (LOGITS, LABELS[:, None], r"targets\.squeeze\(1\)"),
    "float labels [B, 1]": (LOGITS, LABELS[:, None].float(), r"targets\.squeeze\(1\).*targets\.long\(\)"),
    "masks [B, 1, d]": (torch.zeros(4, 3, 2), LABELS[:, None, None].expand(4, 1, 2), r"targets\.squeeze\(1\)"),
    "a zero row": (LOGITS, ONE_HOT * (LABELS > 0)[:, None].float(), "1 rows are all 0.*ignore_index"),
    "an output object": (SimpleNamespace(logits=LOGITS), LABELS, r"its \.logits"),
    "an output dict": ({"loss": None, "out": LOGITS}, LABELS, r"logits\['out'\]"),
    "an output tuple": ((None, LOGITS), LABELS, r"logits\[1\]"),
    "a batch as targets": (LOGITS, {"pixels": LOGITS, "labels": LABELS}, r"targets\['labels'\]"),
    "lists": (LOGITS, LABELS.tolist(), r"torch\.as_tensor\(targets\)"),
    "one sample": (LOGITS[0], LABELS[0], r"logits\[None\]"),
    "targets first": (LABELS, LOGITS, "logits come first"),
}


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize("case", OF_ANOTHER_KIND)
def test_the_error_says_how_to_give_logits_and_targets_of_another_kind(made, case):
    logits, targets, remedy = OF_ANOTHER_KIND[case]
    with pytest.raises((ValueError, TypeError), match=f"Expected .* but .*{remedy}") as caught:
        made(InverseFrequency(COUNTS))(logits, targets)
    assert "ulti-label" not in str(caught.value)


@pytest.mark.parametrize("made", CRITERIA)
@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (torch.randn(4, 3, 2), torch.zeros(4, dtype=torch.int64)),
        (torch.randn(4, 3, 2), torch.zeros(4, 3, dtype=torch.int64)),
        (torch.randn(4, 3, 2), torch.zeros(4, 2, 1, dtype=torch.int64)),
        (torch.randn(4, 3, 2), torch.full((4, 3), 1 / 3)),
        (torch.randn(4, 2, 3), torch.zeros(4, 3, dtype=torch.int64)),
        (torch.randn(3), torch.tensor(0)),
        (torch.randn(4, 3, 2), torch.full((4, 2), -100)),
        (torch.randn(4, 3, 2), torch.full((4, 2), 3)),
    ],
    ids=lambda tensor: str(list(tensor.shape)),
)
def test_dense_batches_that_do_not_fit_are_refused(made, logits, targets):
    criterion = made(InverseFrequency(COUNTS))
    with pytest.raises(ValueError, match="Expected"):
        criterion(logits, targets)


@pytest.mark.parametrize("ignore_index", [1.0, "255", True, [255]], ids=str)
def test_an_ignore_index_that_is_no_whole_number_is_refused(ignore_index):
    with pytest.raises(ValueError, match="ignore_index"):
        ReweightedLoss(Uniform(COUNTS), ignore_index=ignore_index)


def test_a_label_out_of_range_is_refused_beside_an_ignored_one():
    criterion = ReweightedLoss(Uniform(COUNTS), ignore_index=255)
    with pytest.raises(ValueError, match="but got 254"):
        criterion(torch.randn(3, 3), torch.tensor([255, 254, 0]))


@pytest.mark.parametrize("options", [{"variant": "dv"}, {"variant": "bv", "features": 4}], ids=["dv", "bv"])
def test_the_radius_of_a_class_of_a_million_pixels_is_that_of_a_float64_loop(options):
    classes, side, images = 129, 128, 64
    weighting = ClassVolume([images * side * side] + [2] * (classes - 1), **options)
    criterion = ReweightedLoss(weighting)
    logits = torch.randn(2, classes, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for _ in range(images // 2):
        criterion.observe(logits, torch.zeros(2, side, side, dtype=torch.int64))
    pixels = logits.detach().double().movedim(1, -1).reshape(-1, classes)
    if options["variant"] == "bv":
        columns = [k for k in weighting._variant.columns.tolist() if k != 0]
        pixels = pixels[:, :1] - pixels[:, columns]
    n = images * side * side
    sigma = pixels.std(dim=0, correction=0) * math.sqrt(n / (n - 1))
    criterion.end_epoch()
    assert float(weighting.log_radius64[0]) == pytest.approx(float(sigma.log().mean()), abs=1e-6)
