"""Float64 logits of a host keep the digits of their spread also where the branches are added up."""

import pytest
import torch
from torch import Tensor, nn

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.hosts.vl_ltr.attach import _observe_clean
from vlltr_plugin.training.host_criterion import HostCriterion

COUNTS = [30, 20, 10]


class Outputs:
    """The watch of a model with two outputs."""

    names = ("visual", "image_text")

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        self.outputs = outputs

    def branch_of(self, logits: Tensor) -> str:
        return next(name for name, output in self.outputs.items() if output is logits)

    def output(self, name: str) -> Tensor:
        return self.outputs[name]


@pytest.mark.parametrize("clean_pass", [False, True])
def test_the_sum_of_float64_branches_far_from_zero_is_not_rounded(clean_pass: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    spread = 0.05 * torch.randn(2, 300, 3, generator=generator, dtype=torch.float64)
    visual, image_text = spread + 1e6
    weighting, expected = ClassVolume(COUNTS), ClassVolume(COUNTS)
    outputs = {"visual": visual.requires_grad_(), "image_text": image_text.requires_grad_()}
    if clean_pass:
        _observe_clean({"sum": weighting}, (visual, image_text), labels)
    else:
        loss = ReweightedLoss(weighting)
        criterion = HostCriterion(nn.CrossEntropyLoss(), {"sum": loss}, Outputs(outputs))
        for logits in outputs.values():
            criterion(logits, labels)
    expected.observe(spread.sum(dim=0), labels)
    for one in (weighting, expected):
        one.end_epoch()
    torch.testing.assert_close(weighting.log_radius64, expected.log_radius64, rtol=0, atol=1e-6)
