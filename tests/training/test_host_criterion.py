"""What takes the place of a host's criterion, on two classes: nothing there may count on a third."""

import pytest
import torch
from host_steps import expected_loss, expected_weights, parts_of
from torch import Tensor, nn
from torch.nn import functional as F

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.hosts.vl_ltr.plan import check_base_criterion
from vlltr_plugin.training.host_criterion import HostCriterion

COUNTS = [40, 9]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True], ids=["hard", "mixed"])
def test_two_classes_train_with_the_losses_of_the_definition(mixed: bool, smoothing: float) -> None:
    base = soft_cross_entropy if mixed else nn.CrossEntropyLoss(label_smoothing=smoothing)
    check_base_criterion(base, 2, smoothing, mixed)
    with pytest.raises(ValueError, match="averaged over the batch"):
        check_base_criterion(lambda logits, targets: 1.1 * base(logits, targets), 2, smoothing, mixed)

    loss = ReweightedLoss(ClassVolume(COUNTS), smoothing=smoothing)
    module = base if isinstance(base, nn.Module) else _Module()
    criterion = HostCriterion(module, {"single": loss})
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(COUNTS))
    alpha = [1.0, 1.0]
    for _ in range(3):
        order = torch.randperm(len(labels), generator=generator)
        rows = torch.randn(len(labels), 2, generator=generator) * (1.0 + labels[order, None])
        targets = labels[order]
        if mixed:
            hard = F.one_hot(targets, 2).float()
            partner = hard.roll(1, 0)
            targets = (1 - smoothing) * (0.8 * hard + 0.2 * partner) + smoothing / 2
        parts = parts_of(targets, smoothing)
        found = criterion(rows.requires_grad_(), targets)
        found.backward()
        expected = expected_loss(rows.detach(), parts, alpha, smoothing).item()
        assert found.item() == pytest.approx(expected, rel=1e-5)
        loss.end_epoch()
        alpha = expected_weights(rows.detach(), parts, COUNTS, COUNTS)
    assert max(alpha) > 1.5


class _Module(nn.Module):
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return soft_cross_entropy(logits, targets)
