import math

import torch

from vlltr_plugin.cifar_lt.losses import BalancedSoftmaxLoss, LADELoss, LDAMLoss, influence_factors

COUNTS = [500, 40, 3]
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 8
LABELS = torch.arange(20) % 3


def test_ldam_lowers_the_labels_cosine_by_its_margin():
    found = LDAMLoss(torch.tensor(COUNTS))(LOGITS, LABELS)
    for row, label, loss in zip(LOGITS.double().tolist(), LABELS.tolist(), found.tolist(), strict=True):
        margin = 0.5 * (3 / COUNTS[label]) ** 0.25
        lowered = [z - 30 * margin * (k == label) for k, z in enumerate(row)]
        assert math.isclose(loss, math.log(sum(map(math.exp, lowered))) - lowered[label], rel_tol=1e-5, abs_tol=1e-5)


def test_balanced_softmax_counts_every_class_by_its_images():
    found = BalancedSoftmaxLoss(torch.tensor(COUNTS))(LOGITS, LABELS)
    for row, label, loss in zip(LOGITS.double().tolist(), LABELS.tolist(), found.tolist(), strict=True):
        scores = [n * math.exp(z) for n, z in zip(COUNTS, row, strict=True)]
        assert math.isclose(loss, -math.log(scores[label] / sum(scores)), rel_tol=1e-5, abs_tol=1e-5)


def test_lade_adds_its_regulariser_to_balanced_softmax():
    labels = torch.tensor([0] * 19 + [1])  # class 1 has one sample in the batch, class 2 none
    shares = [count / sum(COUNTS) for count in COUNTS]
    regulariser = 0.0
    for k, share in enumerate(shares):
        own = [row[k] for row, label in zip(LOGITS.double().tolist(), labels.tolist(), strict=True) if label == k]
        scores = [math.exp(row[k]) / (3 * share) for row in LOGITS.double().tolist()]
        of_all = math.log(sum(scores) / len(scores))
        regulariser += share * (of_all + 0.01 * of_all**2 - (sum(own) / len(own) if own else 0))
    added = LADELoss(torch.tensor(COUNTS))(LOGITS, labels) - BalancedSoftmaxLoss(torch.tensor(COUNTS))(LOGITS, labels)
    torch.testing.assert_close(added, torch.full((20,), 0.1 * regulariser), rtol=1e-4, atol=1e-4)


def test_influence_is_the_distance_to_the_target_times_the_features():
    norms = torch.linspace(0.5, 9, 20)
    found = influence_factors(LOGITS, LABELS, norms)
    mixed = influence_factors(LOGITS, torch.nn.functional.one_hot(LABELS, 3).float(), norms)
    for row, label, norm, factor in zip(LOGITS.double().tolist(), LABELS.tolist(), norms.tolist(), found, strict=True):
        total = sum(map(math.exp, row))
        distance = sum(abs(math.exp(z) / total - (k == label)) for k, z in enumerate(row))
        assert math.isclose(factor.item(), 1000 / (distance * norm + 0.001), rel_tol=1e-3)
    torch.testing.assert_close(found, mixed)


def test_a_sample_without_influence_has_a_finite_gradient():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0]), reduction="none")
    (loss * influence_factors(logits, torch.tensor([0]), torch.zeros(1))).sum().backward()
    assert logits.grad.isfinite().all()
