"""`LogitAdjustment`: logits minus tau log prior, at every shape and dtype, saved with the model."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from vlltr_plugin import LogitAdjustment
from vlltr_plugin.report.tradeoff import trade_off

COUNTS = [400, 0, 30, 3]
TAU = 0.75


def by_hand(logits: torch.Tensor, counts: list[float], tau: float) -> list[list[float]]:
    """`[N, C]`, one image and one class after the other, in Python's float64."""
    rarest = min(count for count in counts if count > 0)
    return [
        [float(z) - tau * math.log((count or rarest) / max(counts)) for z, count in zip(row, counts, strict=True)]
        for row in logits.double()
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4,), (7, 4), (0, 4), (3, 4, 5), (2, 4, 3, 2)])
def test_the_logits_lose_tau_times_the_log_prior(shape, dtype):
    logits = (5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = LogitAdjustment(COUNTS, TAU)(logits)
    assert (found.dtype, found.shape) == (logits.dtype, logits.shape)
    rows = [
        logits[None] if logits.ndim == 1 else logits.movedim(1, -1),
        found[None] if found.ndim == 1 else found.movedim(1, -1),
    ]
    expected = torch.tensor(by_hand(rows[0].reshape(-1, 4), COUNTS, TAU), dtype=torch.float64).reshape(-1, 4)
    near = max(torch.finfo(dtype).eps, 1e-7)  # the log prior is float32
    torch.testing.assert_close(rows[1].reshape(-1, 4).double(), expected, rtol=near, atol=5 * near)


def test_its_accuracy_is_that_of_evaluate_at_the_same_tau():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 4, generator=generator) + torch.tensor([4.0, 2.0, 2.0, 0.0])
    labels = torch.randint(4, (300,), generator=generator)
    curve = trade_off(logits, labels, COUNTS, taus=[0.0, TAU])
    for tau, row in zip(curve.taus, curve.rows, strict=True):
        right = (LogitAdjustment(COUNTS, tau)(logits).argmax(1) == labels).sum().item()
        assert 100 * right / 300 == pytest.approx(row["top1"])
    assert curve.rows[0]["top1"] != curve.rows[1]["top1"]


@pytest.mark.parametrize("way", ["state dict", "whole", "copy", "half"])
def test_tau_and_prior_are_saved_and_loaded_with_the_model(way, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), LogitAdjustment(COUNTS, TAU)).eval()
    x = torch.randn(6, 5)
    if way == "state dict":
        torch.save(model.state_dict(), tmp_path / "model.pt")
        other = nn.Sequential(nn.Linear(5, 4), LogitAdjustment([1, 1, 1, 1])).eval()
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    elif way == "whole":
        torch.save(model, tmp_path / "model.pt")
        other = torch.load(tmp_path / "model.pt", weights_only=False)
    else:
        other = copy.deepcopy(model)
    if way == "half":
        other = other.half().float()
    assert torch.allclose(other(x), model(x), atol=5e-3 if way == "half" else 0.0, rtol=0)
    assert not torch.allclose(other(x), model[0](x), atol=0.1)
    assert list(model.parameters()) == list(model[0].parameters())


def test_it_exports_and_compiles_in_one_graph():
    adjustment, logits = LogitAdjustment(COUNTS, TAU), torch.randn(5, 4)
    compiled = torch.compile(adjustment, fullgraph=True, backend="eager")
    assert torch.equal(compiled(logits), adjustment(logits))
    assert torch.equal(torch.export.export(adjustment, (logits,)).module()(logits), adjustment(logits))


def test_the_unit_of_the_counts_and_torchs_defaults_do_not_matter():
    logits = torch.randn(5, 4)
    expected = LogitAdjustment(COUNTS, TAU)(logits)
    torch.testing.assert_close(LogitAdjustment(np.array(COUNTS) * 1e-9, TAU)(logits), expected)
    with torch.inference_mode():
        made = LogitAdjustment(torch.tensor(COUNTS), np.float32(TAU))
    assert torch.equal(made(logits.requires_grad_()), expected)
    made.load_state_dict(made.state_dict())  # refused for tensors that were made in inference mode
    assert torch.equal(LogitAdjustment(COUNTS, 0.0)(logits), logits)


@pytest.mark.parametrize(
    ("counts", "tau", "said"),
    [
        ([0, 0, 0, 0], 1.0, "all are 0"),
        ([4, -1], 1.0, "finite and not negative"),
        ([4, math.inf], 1.0, "finite and not negative"),
        ({0: 4}, 1.0, "of a dict or Counter give"),
        (COUNTS, math.nan, "tau to be a finite number but got nan"),
        (COUNTS, True, "tau to be a number"),
        (COUNTS, "1", "tau to be a number"),
    ],
)
def test_what_does_not_fit_is_refused(counts, tau, said):
    with pytest.raises(ValueError, match=said):
        LogitAdjustment(counts, tau)


@pytest.mark.parametrize("logits", [torch.zeros(4, 3), torch.zeros(2, 5, 4), torch.zeros(()), torch.zeros(2, 4).long()])
def test_logits_of_other_classes_are_refused(logits):
    with pytest.raises(ValueError, match=r"floating point logits of shape \[B, 4\]"):
        LogitAdjustment(COUNTS)(logits)
