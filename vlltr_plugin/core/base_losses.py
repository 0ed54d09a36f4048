"""Base losses: the loss of each sample under each label."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin.core.arguments import check_choice
from vlltr_plugin.core.torch_context import in_vmap

NO_LABEL = -(2**31)  # passed as ignore_index so that no real label is ignored (torch's default is -100)

PerSampleLoss = Callable[[Tensor, Tensor], Tensor]


class BaseLoss(ABC):
    """Interface of a base loss l(x, k): the loss of each sample x under a hard label k.

    Class weights, mixtures of labels and label smoothing are linear in l(x, k), so two methods are enough. Subclass
    `LabelLosses` to compute l for all labels at once; a callable of logits and labels needs no class.
    """

    @abstractmethod
    def of_labels(self, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """LS_eps(z_b, y_b) = (1 - eps) l(z_b, y_b) + eps/C sum_k l(z_b, k).

        Args:
            logits: z, `[B, C]`.
            labels: y, int64 `[B]`.
            smoothing: eps in [0, 1).

        Returns:
            `[B]`.
        """

    @abstractmethod
    def of_mixtures(self, logits: Tensor, weights: Tensor, smoothing: float) -> Tensor:
        """sum_k w_bk LS_eps(z_b, k).

        Args:
            logits: z, `[B, C]`.
            weights: w, mass times class weight of each label in each sample, 0 where it has none, `[B, C]`.
            smoothing: eps in [0, 1).

        Returns:
            `[B]`.
        """


class LabelLosses(BaseLoss):
    """A base loss that computes the losses of all labels at once; subclasses implement `__call__`.

    Example:
        >>> import torch
        >>> from vlltr_plugin import InverseFrequency, LabelLosses, ReweightedLoss
        >>> class Brier(LabelLosses):
        ...     def __call__(self, logits):
        ...         p = logits.softmax(dim=1)
        ...         return 1 - 2 * p + p.square().sum(dim=1, keepdim=True)
        >>> criterion = ReweightedLoss(InverseFrequency([900, 90, 9]), base=Brier())
        >>> criterion(torch.zeros(2, 3), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.7, 0.3]])).shape
        torch.Size([])
    """

    @abstractmethod
    def __call__(self, logits: Tensor) -> Tensor:
        """Logits `[B, C]` to losses `[B, C]`: entry (b, k) is the loss of sample b if its label were k."""

    def gains(self, logits: Tensor) -> Tensor:
        """Minus the losses, `[B, C]`; softmax computes these directly."""
        return -self(logits)

    def of_labels(self, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """As in `BaseLoss`."""
        gains = self._gains(logits)
        # Computed first, so that backward adds its gradient to that of nll_loss.
        uniform = gains.sum(dim=1) if smoothing else None
        losses = F.nll_loss(gains, labels, reduction="none", ignore_index=NO_LABEL)
        if uniform is None:
            return losses
        return torch.sub(losses * (1.0 - smoothing), uniform, alpha=smoothing / gains.shape[1])

    def of_mixtures(self, logits: Tensor, weights: Tensor, smoothing: float) -> Tensor:
        """As in `BaseLoss`; writes over `weights`, whose uniform part is eps/C sum_j w_j."""
        gains = self._gains(logits)
        if not smoothing:
            return -(weights * gains).sum(dim=1)
        # (1 - eps) outside of the sum saves one pass over [B, C].
        weights = weights.add_(weights.mean(dim=1, keepdim=True) * (smoothing / (1.0 - smoothing)))
        return (weights * gains).sum(dim=1) * (smoothing - 1.0)

    def _gains(self, logits: Tensor) -> Tensor:
        gains = self.gains(logits)
        if gains.shape != logits.shape:
            raise ValueError(
                f"Expected the base loss to return one loss for each sample and label, shape {list(logits.shape)}, "
                f"but got {list(gains.shape)}."
            )
        return gains


class SoftmaxLosses(LabelLosses):
    """Softmax cross entropy: -log softmax(z)_k."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits to losses, both `[B, C]`."""
        return -self.gains(logits)

    def gains(self, logits: Tensor) -> Tensor:
        """Log softmax(z)_k."""
        return F.log_softmax(logits, dim=1)


class SigmoidLosses(LabelLosses):
    """Sigmoid cross entropy summed over the classes, one-versus-rest (Cui et al., CVPR 2019, Eq. 11).

    softplus(-z_k) + sum_{j != k} softplus(z_j) = sum_j softplus(z_j) - z_k.
    """

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits to losses, both `[B, C]`."""
        return F.softplus(logits).sum(dim=1, keepdim=True) - logits


class FocalLosses(LabelLosses):
    """Sigmoid focal loss summed over the classes (Lin et al., ICCV 2017, Eq. 4; as Cui et al., Eq. 13).

    Args:
        gamma: focusing parameter, 0 or more; at 0 it is `SigmoidLosses`.

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
        """-(1 - p)^gamma log p for p = sigmoid(z), computed with logarithms to avoid overflow."""
        return torch.exp(-self.gamma * F.softplus(z)) * F.softplus(-z)


class SampleLosses(BaseLoss):
    """A callable of logits `[B, C]` and int64 labels `[B]` as a base loss; it applies label smoothing itself.

    For mixtures it is called with the heaviest label of every sample, then with the second heaviest, and so on. The
    number of calls is read from the targets, which waits for a GPU. It cannot be read under `torch.compile`, which
    allows at most two labels (more raise RuntimeError), nor inside `torch.func.vmap`, where it is C.
    """

    def __init__(self, loss: PerSampleLoss) -> None:
        self.loss = loss

    def of_labels(self, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """`loss` itself, `[B]`."""
        losses = self.loss(logits, labels)
        if losses.shape != labels.shape:
            raise ValueError(
                f"Expected the base loss to return one loss for each sample, shape {list(labels.shape)}, but got "
                f"{list(losses.shape)}: give it reduction='none'."
            )
        return losses

    def of_mixtures(self, logits: Tensor, weights: Tensor, smoothing: float) -> Tensor:
        """As in `BaseLoss`, for any number of labels in a sample."""
        most = two = min(2, weights.shape[1])
        if in_vmap():
            most = weights.shape[1]
        elif not weights.is_meta and weights.numel():
            most_labels = (weights > 0).sum(dim=1).max()
            if torch.compiler.is_compiling():
                message = "Expected mixtures of at most two labels for a callable base under compile."
                torch._assert_async(most_labels <= two, message)
            else:
                most = max(1, int(most_labels))
        heaviest = weights.topk(most, dim=1)
        # A sample with fewer labels repeats its heaviest one, since another label's loss times 0 might be 0 * inf.
        labels = torch.where(heaviest.values > 0, heaviest.indices, heaviest.indices[:, :1])
        columns = zip(labels.unbind(1), heaviest.values.unbind(1), strict=True)
        return torch.stack([weight * self.of_labels(logits, label, smoothing) for label, weight in columns]).sum(dim=0)


BASE_LOSSES: dict[str, Callable[[], BaseLoss]] = {
    "softmax": SoftmaxLosses,
    "sigmoid": SigmoidLosses,
    "focal": FocalLosses,
}


def base_loss(base: str | BaseLoss | PerSampleLoss) -> BaseLoss:
    """The base loss for a name (ValueError if unknown) or a callable (else TypeError); a `BaseLoss` is unchanged."""
    if isinstance(base, BaseLoss):
        return base
    if isinstance(base, str):
        check_choice("base", base, tuple(BASE_LOSSES))
        return BASE_LOSSES[base]()
    if isinstance(base, type) or not callable(base):
        raise TypeError(
            f"Expected base to be {', '.join(map(repr, BASE_LOSSES))}, a BaseLoss or a callable of logits and labels "
            f"but got {base!r}."
        )
    return SampleLosses(base)


def base_loss_name(base: BaseLoss) -> str:
    """Name of a base loss: its key in `BASE_LOSSES`, or the name of its function or class."""
    if isinstance(base, SampleLosses):
        return getattr(base.loss, "__name__", type(base.loss).__name__)
    if isinstance(base, FocalLosses):
        return f"focal, gamma {base.gamma:g}"
    return next((name for name, known in BASE_LOSSES.items() if known is type(base)), type(base).__name__)
