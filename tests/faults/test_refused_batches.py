"""Batches that do not fit: an error before the step, which leaves statistics and weights as they were."""

import math

import pytest
import torch
import torch.nn.functional as F
from faults.sound_weights import FREQUENCIES, SMOOTHING, VOLUMES, made, soft
from hypothesis import given, settings
from hypothesis import strategies as st

from vlltr_plugin import ReweightedLoss


def one(tensor, value, where=0):
    spoiled = tensor.clone()
    spoiled[where] = value
    return spoiled


def moved(targets):
    """Mass moved from one label to another until it is negative: the row still sums to 1."""
    targets = targets.clone()
    targets[0, 0] -= 2
    targets[0, 1] += 2
    return targets


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
    held = [value for value in vars(moments).values() if isinstance(value, torch.Tensor)] if moments else []
    tensors = [*held, *weighting.buffers(), getattr(weighting, "_faults", torch.zeros(0))]
    return [tensor.clone() for tensor in tensors]


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
