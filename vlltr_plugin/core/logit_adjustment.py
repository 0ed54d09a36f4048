"""Logit adjustment: margins log alpha in the training loss, or tau log prior subtracted from trained logits."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.core.arguments import Counts, check_number, numbers_of_classes
from vlltr_plugin.core.base_losses import SoftmaxLosses
from vlltr_plugin.core.batch import Batch
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.torch_context import outside_inference_mode
from vlltr_plugin.core.weighting import Weighting

CROSS_ENTROPY = SoftmaxLosses()


class LogitAdjustedLoss(Criterion):
    """Mean over the batch of the softmax cross entropy of z - tau log alpha, alpha ~ r / m (or r / n).

    With equal radii and `counts="dataset"` that is the logit-adjusted loss (Menon et al., ICLR 2021, Eq. 10) at tau,
    and at tau = 1 balanced softmax (Ren et al., NeurIPS 2020, Eq. 3). Until radii apply (in the first epoch and before
    `start_epoch`) all radii count as equal, whatever the weighting (`Uniform` always gives plain cross entropy). A
    constant factor of alpha changes nothing, so `normalize` does not matter here. A class without samples takes the
    largest log alpha of the others: any constant would depend on the scale.

    Statistics are computed from the unadjusted logits, which are also used at test time; in eval mode the loss is plain
    cross entropy. The state is that of the weighting: a state saved by `ReweightedLoss` loads here, and vice versa.

    Args:
        weighting: provides alpha, for example `ClassVolume`.
        tau: strength of the margins, 0 or more; 0 is plain cross entropy.
        smoothing: as in `Criterion`: label smoothing of the adjusted logits.
        ignore_index: as in `Criterion`.
        reduction: as in `Criterion`.

    Raises:
        ValueError: for a tau that is negative or no finite number, or a smoothing, ignore_index or reduction that does
            not fit.

    Example:
        >>> import torch
        >>> from vlltr_plugin import ClassVolume, LogitAdjustedLoss
        >>> criterion = LogitAdjustedLoss(ClassVolume([900, 90, 9]), tau=1.0)
        >>> for epoch in range(2):
        ...     for _ in range(4):
        ...         logits = torch.randn(30, 3, requires_grad=True)
        ...         criterion(logits, torch.arange(30) % 3).backward()
        ...     statistics = criterion.end_epoch()
    """

    base_name = "softmax"  # name of the base loss

    def __init__(
        self,
        weighting: Weighting,
        tau: float = 1.0,
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weighting, smoothing, ignore_index, reduction)
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not 0 <= tau < math.inf:
            raise ValueError(f"Expected tau to be a finite number, 0 or more, but got {tau!r}.")
        self.tau = float(tau)
        weighting.update_margins()

    def in_force(self) -> Tensor:
        """As in `Criterion`; the margins are tau times its logarithm."""
        return self.weighting.margins.exp().float()

    def extra_repr(self) -> str:
        """As in `Criterion`, and tau."""
        return f"tau={self.tau}, {super().extra_repr()}"

    def must_agree(self, ended: int) -> dict[str, Any]:
        """As in `Criterion`, and tau."""
        return {**super().must_agree(ended), "tau": self.tau}

    def _losses(self, batch: Batch, weighted: bool = True) -> Tensor:
        self.weighting.move_to(batch.logits.device)
        tau = self.tau if weighted else 0.0
        logits = batch.logits - (tau * self.weighting.margins).to(batch.logits.dtype).to(batch.logits.device)
        if batch.masses is not None:  # the smoothing is in the targets
            return CROSS_ENTROPY.of_mixtures(logits, batch.targets.to(logits.dtype), smoothing=0.0)
        return CROSS_ENTROPY.of_labels(logits, batch.targets, self.smoothing)


def log_prior(class_counts: Counts) -> Tensor:
    """log(n_i / max_j n_j), float64 `[C]` on the CPU: at most 0, and exactly 0 for equal counts.

    A class with count 0 gets the log prior of the rarest class with a positive count: its own would be minus infinity,
    which would make it the prediction for every image.

    Raises:
        ValueError: for counts that are negative, not finite, all 0, or no sequence of numbers.
    """
    values = numbers_of_classes("class_counts", class_counts)
    present = values > 0
    if not bool(present.any()):
        raise ValueError("Expected class_counts with a class that has samples but all are 0.")
    logs = torch.where(present, values, values[present].min()).log()
    return logs - logs.max()


class LogitAdjustment(nn.Module):
    """Logits of a trained model minus tau log prior (Menon et al., ICLR 2021, Eq. 9), prior_i ~ n_i.

    Choose tau on validation images; `vlltr-plugin evaluate --logits` does. Train the model without this module: in the
    training loss the model would learn to undo the adjustment. tau and the log prior are buffers, so that the model's
    state dict holds them. Loading a state dict replaces those that were given here.

    Args:
        class_counts: n_i, training samples of each class, `[C]`; only the ratios matter. For a model that was trained
            with a sampler that is not uniform, the expected draws of each class. A class with 0 is adjusted as the
            rarest class that has more.
        tau: strength, a finite number; 0 leaves the logits as they are.

    Shape:
        logits: floating point `[B, C]`, `[B, C, d1, ...]` or `[C]`. The output has the same shape and dtype.

    Raises:
        ValueError: for counts that are negative, not finite or all 0, a tau that is no finite number, and logits whose
            class dimension is not C.

    Example:
        >>> import torch
        >>> from vlltr_plugin import LogitAdjustment
        >>> classifier = torch.nn.Sequential(torch.nn.Linear(8, 3), LogitAdjustment([900, 90, 9], tau=1.0))
        >>> classifier(torch.randn(5, 8)).shape
        torch.Size([5, 3])
    """

    log_prior: Tensor
    tau: Tensor

    @outside_inference_mode
    def __init__(self, class_counts: Counts, tau: float = 1.0) -> None:
        super().__init__()
        check_number("tau", tau)
        if not math.isfinite(tau):
            raise ValueError(f"Expected tau to be a finite number but got {tau!r}.")
        logs = log_prior(class_counts).float()  # float64 does not exist on every device
        self.register_buffer("log_prior", logs)
        self.register_buffer("tau", logs.new_tensor(float(tau)))

    def forward(self, logits: Tensor) -> Tensor:
        """The adjusted logits, in the shape and dtype of `logits`."""
        classes, axis = self.log_prior.shape[0], min(1, logits.ndim - 1)
        if logits.ndim == 0 or logits.shape[axis] != classes or not logits.is_floating_point():
            raise ValueError(
                f"Expected floating point logits of shape [B, {classes}] or [B, {classes}, d1, ...] but got "
                f"{logits.dtype} of shape {list(logits.shape)}."
            )
        margins = (self.tau * self.log_prior).reshape(-1, *[1] * (logits.ndim - axis - 1))
        return (logits - margins).to(logits.dtype)

    def extra_repr(self) -> str:
        """C and tau."""
        return f"classes={self.log_prior.shape[0]}, tau={self.tau.item():g}"
