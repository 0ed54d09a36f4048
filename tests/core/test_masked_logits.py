"""Rows whose logits a mask has replaced by huge numbers: left out of the statistics and counted, as with -inf."""

from dataclasses import replace

import pytest
import torch

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.core.batch import all_within_reach, are_sound, batch_of

COUNTS = [120, 80, 40]
MASKS = {
    "-1e9": -1e9,
    "-1e8": -1e8,
    "float16": torch.finfo(torch.float16).min,  # in bfloat16 its own
    "bfloat16": torch.finfo(torch.bfloat16).min,
    "float32": torch.finfo(torch.float32).min,
    "-inf": -torch.inf,
}
VARIANTS = [{"variant": "dv"}, {"variant": "bv"}, {"variant": "pv"}, {"variant": "dv", "features": 2}]


def batch(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    spread = torch.tensor([[1.0], [3.0], [0.5]])[labels]
    logits = scale * spread * torch.randn(240, 3, generator=generator)
    return logits, labels, torch.rand(240, generator=generator) < 0.2


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("way", ["observe", "without looking", "bfloat16", "soft"])
def test_weights_are_those_of_the_rows_that_no_mask_changed(mask, options, way):
    told, spared = (ReweightedLoss(ClassVolume(COUNTS, **options)) for _ in range(2))
    for seed in range(2):
        logits, labels, masked = batch(seed)
        columns = told.weighting._variant.columns
        column = 0 if columns is None else int(columns[0])
        logits = logits.to(torch.bfloat16 if way == "bfloat16" else torch.float32)
        logits[masked, column] = torch.finfo(logits.dtype).min if mask == "float16" else MASKS[mask]
        targets = torch.nn.functional.one_hot(labels, 3).float() if way == "soft" else labels
        if way == "without looking":
            told.weighting.observe_batch(replace(batch_of(logits, targets, 3), cheap=False))
        else:
            told.observe(logits, targets)
        spared.observe(logits[~masked], targets[~masked])
    skipped = sum(int(batch(seed)[2].sum()) for seed in range(2))
    for criterion in (told, spared):
        criterion.weighting.end_epoch()
    assert (told.weighting.skipped, spared.weighting.skipped) == (skipped, 0)
    torch.testing.assert_close(told.weighting.weights, spared.weighting.weights, rtol=1e-5, atol=0)


@pytest.mark.parametrize("mask", MASKS)
def test_where_every_row_is_masked_the_remedy_is_named(mask):
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    logits, labels, _ = batch(0)
    masked = logits.clone()
    masked[:, 2] = MASKS[mask]
    criterion(masked.requires_grad_(), labels)
    with pytest.warns(UserWarning, match=r"240 of 240 rows were not finite, or masked.*criterion\.observe"):
        criterion.end_epoch()
    assert torch.equal(criterion.weighting.weights, torch.ones(3))
    criterion.observe(logits, labels)
    criterion.losses(masked, labels).mean().backward()
    criterion.end_epoch()
    assert criterion.weighting.has_radii


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 3e3, 2e4, 1e6, 1e12, 1e36])
@pytest.mark.parametrize("classes", [1, 2, 3, 100])
@pytest.mark.parametrize("offset", [0.0, 10.0, -10.0])
@pytest.mark.parametrize("half", [False, True])
def test_logits_of_any_scale_are_sound(scale, classes, offset, half):
    logits = scale * (torch.randn(500, classes, generator=torch.Generator().manual_seed(0)) + offset)
    logits = logits.half().float() if half and scale < 1e4 else logits
    finite = logits.isfinite().all(dim=1)
    assert torch.equal(are_sound(logits), finite)
    assert scale > 3e3 or finite.all()
    assert all_within_reach(logits) or scale > 1e3
