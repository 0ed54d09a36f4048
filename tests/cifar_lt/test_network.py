import math

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin.cifar_lt.network import BalancedSoftmaxLoss, LADELoss, LDAMLoss, ResNet32, influence_factors

COUNTS = [500, 40, 3]
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 8
LABELS = torch.arange(20) % 3


def trained_once(seeds, images, cosine=False):
    """A network after one step of SGD on one batch for each replica."""
    torch.manual_seed(0)
    network = ResNet32(4, seeds, cosine).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    loss = sum(F.cross_entropy(logits, torch.arange(8) % 4) for logits in network(images)[0])
    loss.backward()
    optimizer.step()
    return network.eval()


def test_option_a_shortcuts_take_every_second_pixel_and_pad_with_zeros():
    block = ResNet32(10, [0, 1]).blocks[5]
    x = torch.randn(2, 2 * 16, 8, 8)
    shortcut = block._shortcut(x)
    assert shortcut.shape == (2, 2 * 32, 4, 4)
    for replica in (0, 1):
        own = shortcut[:, 32 * replica : 32 * (replica + 1)]
        assert torch.equal(own[:, 8:24], x[:, 16 * replica : 16 * (replica + 1), ::2, ::2])
        assert not own[:, :8].any()
        assert not own[:, 24:].any()


@pytest.mark.parametrize("cosine", [False, True])
def test_replicas_train_as_if_alone(cosine):
    images = torch.randn(8, 3 * 3, 8, 8, generator=torch.Generator().manual_seed(1))
    together = trained_once([5, 6, 7], images, cosine)(images)[0]
    for replica, own in enumerate(images.split(3, dim=1)):
        alone = trained_once([5 + replica], own, cosine)(own)[0]
        torch.testing.assert_close(together[replica], alone[0], rtol=1e-4, atol=1e-4)


def test_a_seed_gives_one_he_initialisation_of_resnet32s_parameters_whatever_torch_drew_before():
    first, same, other = ResNet32(10, [3]), ResNet32(10, [3]), ResNet32(10, [4])
    assert sum(parameter.numel() for parameter in first.parameters()) == 464_154
    assert torch.equal(first.head.weight, same.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    weight = ResNet32(4, [3, 4]).blocks[12].second.convolution.weight.detach()
    assert weight.std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_cosine_logits_stay_within_their_scale_and_sigmoid_heads_start_at_the_prior():
    logits = ResNet32(4, [0], cosine=True)(torch.randn(8, 3, 8, 8))[0]
    assert logits.abs().max() <= 30 + 1e-4
    assert torch.sigmoid(ResNet32(10, [0], prior=True).head.bias.detach()).allclose(torch.tensor(0.1))


def test_feature_norms_are_those_of_the_head_inputs():
    network = ResNet32(4, [3, 4]).eval()
    seen = []
    network.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    logits, norms = network(torch.randn(8, 6, 8, 8))
    assert norms.shape == (2, 8)
    torch.testing.assert_close(norms, torch.stack([features.abs().sum(1) for features in seen[0]]))
    weight, bias = network.head.weight, network.head.bias
    torch.testing.assert_close(logits[1], seen[0][1] @ weight[1].T + bias[1])


def test_logits_under_autocast_are_those_of_a_float32_head():
    network = ResNet32(4, [3]).eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits, norms = network(torch.randn(8, 3, 8, 8))
    assert logits.dtype == norms.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_ldam_and_balanced_softmax_are_the_cross_entropy_of_shifted_logits():
    for row, label, *found in zip(
        LOGITS.double().tolist(),
        LABELS.tolist(),
        *(loss(torch.tensor(COUNTS))(LOGITS, LABELS).tolist() for loss in (LDAMLoss, BalancedSoftmaxLoss)),
        strict=True,
    ):
        lowered = [z - 30 * 0.5 * (3 / COUNTS[label]) ** 0.25 * (k == label) for k, z in enumerate(row)]
        with_log_counts = [z + math.log(n) for z, n in zip(row, COUNTS, strict=True)]
        for value, scores in zip(found, (lowered, with_log_counts), strict=True):
            expected = math.log(sum(map(math.exp, scores))) - scores[label]
            assert math.isclose(value, expected, rel_tol=1e-5, abs_tol=1e-5)


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


def test_influence_of_soft_labels_is_that_of_hard_ones_and_no_influence_has_a_finite_gradient():
    norms = torch.linspace(0.5, 9, 20)
    of_soft, of_hard = (influence_factors(LOGITS, targets, norms) for targets in (F.one_hot(LABELS, 3).float(), LABELS))
    torch.testing.assert_close(of_soft, of_hard)
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = F.cross_entropy(logits, LABELS[:1], reduction="none")
    (loss * influence_factors(logits, LABELS[:1], torch.zeros(1))).sum().backward()
    assert logits.grad.isfinite().all()
