"""Any base loss under any weighting: mixtures of any number of labels, to the last of them."""

import math

import pytest
import torch
import torch.nn.functional as F
from epochs import Brier, normal, per_sample
from oracles import mean_loss

from vlltr_plugin import FocalLosses, InverseFrequency, LabelLosses, ReweightedLoss, Uniform

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def _named(value):
    """The same in every process: not an address."""
    return getattr(value, "__name__", None) or (value if isinstance(value, str) else type(value).__name__)


@pytest.mark.parametrize("base", [per_sample, "softmax", "sigmoid", "focal", FocalLosses(0.5), Brier()], ids=_named)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_thousand_labels_of_mass_5e_4_all_count(base, smoothing, dtype):
    """Against the loss of one label at a time. The masses are what the targets' dtype holds of them."""
    classes, held = 2100, 2000
    logits, masses = 3 * normal(2, classes), torch.zeros(2, classes, dtype=torch.float64)
    for row, order in zip(masses, normal(2, classes, seed=1).argsort(), strict=True):
        row[order[:held]] = 1 / held
    targets = ((1 - smoothing) * masses + smoothing / classes).to(dtype)
    masses = torch.where(masses > 0, (targets.double() - smoothing / classes) / (1 - smoothing), 0.0)
    weighting = InverseFrequency(torch.arange(1, classes + 1))
    told = 0.0 if base is per_sample else smoothing  # a callable smooths by itself
    alone = ReweightedLoss(weighting, base, told)
    each = torch.stack([alone.losses(logits.double(), torch.full((2,), k)) for k in range(classes)], dim=1)
    found = ReweightedLoss(weighting, base, smoothing).losses(logits, targets)
    torch.testing.assert_close(found.double(), (masses * each).sum(dim=1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [10, 1000])
def test_a_callable_base_is_called_twice_for_two_labels_whatever_the_rounding(dtype, classes):
    """Mixed in the targets' own dtype, as mixup does; with 1000 classes float16 rounds eps/C."""
    logits, labels, calls = normal(8, classes), torch.arange(8), []
    smoothed = (0.9 * F.one_hot(labels, classes) + 0.1 / classes).to(dtype)
    targets = smoothed * 0.7 + smoothed.flip(0) * (1 - 0.7)

    def counted(logits, labels):
        calls.append(labels)
        return per_sample(logits, labels)

    criterion = ReweightedLoss(InverseFrequency(torch.arange(1, classes + 1)), counted, smoothing=0.1)
    found = criterion(logits, targets)
    assert len(calls) == 2
    alpha = criterion.weighting.weights.double().tolist()
    masses = (0.7 * F.one_hot(labels, classes) + 0.3 * F.one_hot(labels.flip(0), classes)).double()
    assert found.item() == pytest.approx(mean_loss("softmax", logits, masses, alpha), rel=2e-2 if classes < 99 else 0.1)


def test_an_infinite_loss_of_a_label_without_mass_does_not_count():
    """Masked logits: the loss of label 2 is infinite, and no sample has it."""
    logits = torch.tensor([[1.0, 2.0, -math.inf, 0.0], [0.5, 1.0, -math.inf, 3.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.6, 0.0, 0.0, 0.4]])
    loss = ReweightedLoss(InverseFrequency([9, 5, 2, 1]), base=per_sample)(logits, targets)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(logits.grad.isfinite().all())


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, logits, labels):
        return per_sample(self.scale * logits, labels)


class ScaledBrier(Scaled, LabelLosses):
    def forward(self, logits):
        return Brier()(self.scale * logits)


@pytest.mark.parametrize("base", [Scaled, ScaledBrier])
def test_a_base_that_is_a_module_is_part_of_the_criterion(base):
    criterion = ReweightedLoss(Uniform([3, 3, 3]), base=base())
    ((name, scale),) = criterion.named_parameters()
    assert name.endswith(".scale") if base is ScaledBrier else name == "_loss_per_sample.scale"
    criterion(torch.randn(4, 3), torch.tensor([0, 1, 2, 0])).backward()
    assert scale.grad is not None
    assert name in criterion.state_dict()


@pytest.mark.parametrize(
    ("base", "error"), [("hinge", ValueError), (None, TypeError), (3, TypeError), (FocalLosses, TypeError)], ids=_named
)
def test_an_invalid_base_loss_is_refused_at_construction(base, error):
    with pytest.raises(error, match="Expected base to be"):
        ReweightedLoss(Uniform([3, 3]), base=base)


def test_a_base_loss_of_the_wrong_shape_is_refused():
    class Short(LabelLosses):
        def __call__(self, logits):
            return logits.sum(dim=1)

    hard, mixed, short = torch.tensor([0, 1]), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]), r"shape \[2, 3\], but"
    for base, targets, said in ((Short(), hard, short), (Short(), mixed, short), (F.cross_entropy, hard, "'none'")):
        with pytest.raises(ValueError, match=said):
            ReweightedLoss(Uniform([3, 3, 3]), base=base)(torch.randn(2, 3), targets)
