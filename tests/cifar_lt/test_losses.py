import math

import torch

from vlltr_plugin.cifar_lt.losses import BalancedSoftmaxLoss, LDAMLoss

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
