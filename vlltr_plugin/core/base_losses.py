"""Base losses by name: the loss that each sample would have, for every label it could carry.

A base loss here maps logits `[B, C]` to a matrix `[B, C]` whose entry (b, k) is the loss of sample b if its label
were k. Label smoothing, mixtures and class weights are then linear in this matrix, the same way for all of them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin.core.arguments import check_choice

LossMatrix = Callable[[Tensor], Tensor]


def softmax_losses(logits: Tensor) -> Tensor:
    """Softmax cross entropy: -log softmax(z)_k."""
    return -F.log_softmax(logits, dim=1)


def sigmoid_losses(logits: Tensor) -> Tensor:
    """Sigmoid cross entropy summed over the classes, one-versus-rest (Cui et al., CVPR 2019, Eq. 11).

    softplus(-z_k) + sum_{j != k} softplus(z_j) = sum_j softplus(z_j) - z_k.
    """
    return F.softplus(logits).sum(dim=1, keepdim=True) - logits


class FocalLosses:
    """Sigmoid focal loss summed over the classes (Lin et al., ICCV 2017, Eq. 4; as Cui et al., Eq. 13).

    Args:
        gamma: focusing parameter, 0 or more; at 0 it is `sigmoid_losses`.

    Raises:
        ValueError: for a gamma that is negative or not finite.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"Expected gamma to be finite and 0 or more but got {gamma}.")
        self.gamma = gamma

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits to losses, both `[B, C]`."""
        as_label = self._term(logits)
        as_other = self._term(-logits)
        return as_other.sum(dim=1, keepdim=True) + as_label - as_other

    def _term(self, z: Tensor) -> Tensor:
        """-(1 - p)^gamma log p for p = sigmoid(z), through logarithms so that nothing overflows."""
        return torch.exp(-self.gamma * F.softplus(z)) * F.softplus(-z)


BASE_LOSSES: dict[str, Callable[[], LossMatrix]] = {
    "softmax": lambda: softmax_losses,
    "sigmoid": lambda: sigmoid_losses,
    "focal": FocalLosses,
}


def base_loss(name: str) -> LossMatrix:
    """The base loss of that name.

    Raises:
        ValueError: for an unknown name.
    """
    check_choice("base", name, tuple(BASE_LOSSES))
    return BASE_LOSSES[name]()
