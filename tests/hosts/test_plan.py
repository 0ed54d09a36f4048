"""The check of a host's own loss, the same for all hosts."""

from typing import Any

import pytest
import torch
from torch import nn

from vlltr_plugin import InverseFrequency, LogitAdjustedLoss, ReweightedLoss, Uniform
from vlltr_plugin.hosts.plan import check_base_loss


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


def refused(base: Any, classes: int, reason: str, smoothing: float = 0.0, **options: Any) -> None:
    expected = ReweightedLoss(Uniform([1] * classes), smoothing=smoothing)
    with pytest.raises(ValueError, match=reason):
        check_base_loss(base, expected, "the loss", **options)


@pytest.mark.parametrize("classes", [2, 10, 100, 365, 1000, 8142])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_little_more_smoothing_is_refused_whatever_the_number_of_classes(classes: int, mixed: bool) -> None:
    more = nn.CrossEntropyLoss(label_smoothing=0.01 if mixed else 0.11)  # mixed targets contain the 0.1
    refused(more, classes, r"smoothing 0\.1, averaged over the batch", smoothing=0.1, mixed=mixed)


def margins(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits[torch.arange(len(targets)), targets] -= 0.5  # of the host's own, and in place
    return nn.functional.cross_entropy(logits, targets)


@pytest.mark.parametrize("base", [margins, nn.CrossEntropyLoss(torch.where(torch.arange(300) < 50, 1.0, 5.0))])
def test_a_loss_that_differs_for_some_classes_is_refused_with_advice(base: Any) -> None:
    refused(base, 300, "more than the weights: mend it", advice=": mend it")
