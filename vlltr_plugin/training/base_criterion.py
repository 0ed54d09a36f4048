"""The host's base criterion: proven equal to softmax cross entropy, then weighted."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.draw_counter import DrawCounter
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.passes import observing
from vlltr_plugin.core.reweighted_loss import ReweightedLoss
from vlltr_plugin.training.branches import IMAGE_TEXT, OutputWatch
from vlltr_plugin.training.signatures import misfit

TOLERANCE = 1e-4


class HostCriterion(nn.Module):
    """Takes the place of the host's base criterion: observes, then weights or adjusts.

    While the weights are all 1 it calls the host's own criterion, so that a re-weighted run is bit-identical to the
    baseline until they differ. Logits are adjusted from the first step on.

    Args:
        base: the host's base criterion.
        watch: tells the branches apart.
        losses: the re-weighted or logit-adjusted loss that serves each branch.
        streams: feeds of the statistics: a loss for each of `"visual"`, `"image_text"`, `"sum"`, `"single"`; empty
            when nothing streams from the training pass.
        num_classes: C.
        adjusts: whether the losses adjust the logits, which they do also while the weights are 1.
    """

    def __init__(
        self,
        base: nn.Module,
        watch: OutputWatch,
        losses: Mapping[str, Criterion],
        streams: Mapping[str, Criterion],
        num_classes: int,
        adjusts: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.losses = nn.ModuleDict(losses)
        self._watch, self._streams, self._adjusts = watch, streams, adjusts
        self._draws = DrawCounter(num_classes)

    def forward(self, outputs: Tensor, targets: Tensor, *more: Any, **named: Any) -> Tensor:
        """The loss of one branch: logits `[B, C]`, targets int64 `[B]` or float `[B, C]`, to a scalar.

        Raises:
            ValueError: for further arguments, whose part in the loss is unknown, and for batches that do not fit.
        """
        if more or named:
            raise ValueError(
                f"Expected base_criterion(logits, targets) but the host gives it {_further(len(more), named)} more: "
                "what that does to the loss cannot be re-weighted. Take `reweight` out of the config, or the argument "
                "out of the call."
            )
        branch = self._watch.branch_of(outputs)
        loss: Criterion = self.losses[branch]  # type: ignore[assignment]
        if observing(self):
            if not self._streams:  # nothing else looks at the targets in an epoch whose weights are 1
                loss.check(outputs, targets)
            self._observe(branch, outputs, targets)
            if branch == self._watch.names[-1]:
                loss.weighting.follow(outputs.device)
                self._draws.add(targets.to(loss.weighting.home), loss.smoothing)
        if not (self._adjusts or loss.weighting.active):
            base: Tensor = self.base(outputs, targets)
            return base
        return loss.losses(outputs, targets).mean()

    @property
    def drawn(self) -> Tensor:
        """How many samples of each class came since `take_drawn` (mixed ones by mass), float64 `[C]`."""
        return self._draws.drawn

    def take_drawn(self) -> Tensor:
        """As `drawn`, which starts anew."""
        return self._draws.take()

    def _observe(self, branch: str, outputs: Tensor, targets: Tensor) -> None:
        if branch in self._streams:
            _feed(self._streams[branch], outputs, targets)
        if branch == IMAGE_TEXT and "sum" in self._streams:
            both = [self._watch.output(name).detach().float() for name in self._watch.names]
            _feed(self._streams["sum"], both[0] + both[1], targets)


def _feed(stream: Criterion, outputs: Tensor, targets: Tensor) -> None:
    """The statistics alone: what is drawn is counted once, whatever the number of streams."""
    stream.check(outputs, targets)
    stream.weighting.observe(outputs, targets, stream.smoothing)


def _further(unnamed: int, named: Mapping[str, Any]) -> str:
    return " and ".join([f"{unnamed} argument(s)"] * bool(unnamed) + [f"`{name}`" for name in named])


def smoothing_of(base: Callable[[Tensor, Tensor], Tensor], mixup: Any | None) -> float:
    """The label smoothing that the host trains with: the mixup function's, or the base criterion's own.

    Raises:
        ValueError: when the mixup function does not tell.
    """
    if mixup is None:
        return float(getattr(base, "smoothing", getattr(base, "label_smoothing", 0.0)))
    if not hasattr(mixup, "label_smoothing"):
        raise ValueError(f"Expected {type(mixup).__name__} to have the attribute `label_smoothing` but it has none.")
    return float(mixup.label_smoothing)


def check_base_criterion(
    base: Callable[[Tensor, Tensor], Tensor], num_classes: int, smoothing: float, soft: bool
) -> None:
    """Runs the base criterion on made-up logits and compares it with what will be weighted in its place.

    Args:
        base: logits and targets to a scalar.
        num_classes: C.
        smoothing: label smoothing eps.
        soft: whether the host hands over mixtures of labels (mixup, cutmix) or hard labels.

    Raises:
        ValueError: when it takes other arguments, fails on such targets, or is not the mean softmax cross entropy.
    """
    name = type(base).__name__
    if other := misfit(base, "logits", "targets"):
        raise ValueError(
            f"Expected the base criterion to be called as base_criterion(logits, targets) but {name} is not: {other}. "
            "Take `reweight` out of the config, or make the base criterion plain softmax cross entropy."
        )
    labels = (7 * torch.arange(8)) % num_classes
    logits = 4.0 * torch.sin(torch.arange(8 * num_classes, dtype=torch.float32)).view(8, num_classes)
    targets: Tensor = labels
    if soft:
        hard = F.one_hot(labels, num_classes).float()
        targets = (1.0 - smoothing) * (0.7 * hard + 0.3 * hard.flip(0)) + smoothing / num_classes
    expected = float(ReweightedLoss(Uniform([1] * num_classes), smoothing=smoothing).losses(logits, targets).mean())
    kind = "mixed labels (mixup or cutmix is on)" if soft else "hard labels"
    try:
        found = float(base(logits, targets))
    except Exception as error:
        raise ValueError(
            f"Expected the base criterion to take {kind} but {name} fails on them ({error}): "
            "make mixup, cutmix, smoothing and loss_type agree."
        ) from error
    if not abs(found - expected) <= TOLERANCE * max(1.0, abs(expected)):
        raise ValueError(
            f"Expected the base criterion to be softmax cross entropy of {kind} with smoothing {smoothing:g}, averaged "
            f"over the batch, but {name} gives {found:.6g} where that gives {expected:.6g}: re-weighting would change "
            "more than the weights. With mixup or cutmix use soft-target cross entropy (loss_type='softCE' always "
            "gives it); without both, loss_type='smoothCE', or 'CE' with smoothing=0."
        )
