"""The check of a host's own loss, and what a plan says, the same for all hosts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vlltr_plugin import InverseFrequency, LogitAdjustedLoss, ReweightedLoss, Uniform
from vlltr_plugin.hosts.plan import Plan, check_base_loss, make_criteria
from vlltr_plugin.training.settings import parse


class Soft(nn.Module):
    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


@pytest.mark.parametrize("classes", [2, 5, 300])
def test_a_loss_that_is_the_mean_cross_entropy_passes(classes: int) -> None:
    for smoothing in (0.0, 0.1):
        expected = ReweightedLoss(Uniform([1] * classes), smoothing=smoothing)
        check_base_loss(nn.CrossEntropyLoss(label_smoothing=smoothing), expected, "the loss")
        check_base_loss(Soft(), expected, "the loss", mixed=True)


def test_margins_of_the_host_are_compared_on_the_classes_with_images() -> None:
    counts = torch.tensor([20, 0, 5])
    with pytest.warns(UserWarning, match="no samples"):
        expected = LogitAdjustedLoss(InverseFrequency(counts.tolist()))
    shift = counts.double().log().clamp(min=-50).float()
    check_base_loss(lambda logits, targets: nn.functional.cross_entropy(logits + shift, targets), expected, "the loss")
    with pytest.raises(ValueError, match="to be margins for hard labels with smoothing 0, averaged over the batch"):
        check_base_loss(nn.CrossEntropyLoss(), expected, "the loss", "margins")


OTHERS = {
    "a sum": (nn.CrossEntropyLoss(reduction="sum"), False, "more than the weights: mend it"),
    "other smoothing": (nn.CrossEntropyLoss(label_smoothing=0.2), False, "more than the weights: mend it"),
    "hard labels alone": (nn.NLLLoss(), True, "mixed labels .* NLLLoss fails on them .*: mend it"),
    "weights of rare classes": (nn.CrossEntropyLoss(torch.where(torch.arange(300) < 50, 1.0, 5.0)), False, "softmax"),
}


@pytest.mark.parametrize(("base", "mixed", "reason"), OTHERS.values(), ids=OTHERS)
def test_another_loss_is_refused(base: Any, mixed: bool, reason: str) -> None:
    expected = ReweightedLoss(Uniform([1] * 300))
    with pytest.raises(ValueError, match=reason):
        check_base_loss(base, expected, "the loss", mixed=mixed, advice=": mend it")


@pytest.mark.parametrize("classes", [2, 10, 100, 365, 1000, 8142])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_little_more_smoothing_is_refused_whatever_the_number_of_classes(classes: int, mixed: bool) -> None:
    expected = ReweightedLoss(Uniform([1] * classes), smoothing=0.1)
    more = nn.CrossEntropyLoss(label_smoothing=0.01 if mixed else 0.11)  # mixed targets contain the 0.1
    with pytest.raises(ValueError, match=r"smoothing 0\.1, averaged over the batch"):
        check_base_loss(more, expected, "the loss", mixed=mixed)


def test_a_loss_that_puts_margins_into_the_logits_themselves_is_refused() -> None:
    def margins(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits[torch.arange(len(targets)), targets] -= 0.5
        return nn.functional.cross_entropy(logits, targets)

    with pytest.raises(ValueError, match="more than the weights"):
        check_base_loss(margins, ReweightedLoss(Uniform([1] * 10)), "the loss")


def plan(epochs: int | None, **reweight: Any) -> Plan:
    settings = parse({"type": "class_volume", **reweight})
    counts = torch.tensor([20, 5])
    criteria = make_criteria(settings, counts, counts.double(), smoothing=0.0)
    return Plan(settings, criteria, epochs, at_once=settings.adjusts)


SAID = {
    "weights": ({}, 3, "class_volume as loss weights, from epoch 1 on; with equal radii alpha runs from 0.625 to 2.5."),
    "margins": ({"form": "logit_adjustment"}, 3, "tau 1), from the first step on: epoch 0 is not the baseline's, and "),
    "frequency": ({"type": "inverse", "normalize": "mean"}, 3, "inverse, normalize mean as loss weights, from epoch 0"),
    "nothing": ({"type": "none", "start_epoch": 9}, 3, "type none: the host's own loss in all epochs."),
    "too late": ({"start_epoch": 3}, 3, "warning: the weights apply from epoch 3 on, counted from 0, but there are 3 "),
    "in time": ({"start_epoch": 3}, 4, "start_epoch 3 as loss weights, from epoch 3 on"),
    "no number of epochs": ({"start_epoch": 3}, None, "from epoch 3 on"),
}


@pytest.mark.parametrize(("reweight", "epochs", "said"), SAID.values(), ids=SAID)
def test_the_announcement_of_a_plan(
    reweight: dict[str, Any], epochs: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(epochs, **reweight).announce()
    (line,) = capsys.readouterr().out.splitlines()
    assert said in line


def test_a_criterion_is_put_in_once() -> None:
    criterion, _ = plan(3).apply(nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="call attach once"):
        check_base_loss(criterion, ReweightedLoss(Uniform([1, 1])), "the loss")
