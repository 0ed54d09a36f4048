"""The plan of `attach` for a host's run: all checks come first; only `apply` changes the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.core.base_losses import BaseLoss
from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.registry import build_weighting
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.training.hook import EpochHook
from vlltr_plugin.training.host_criterion import TOLERANCE, HostCriterion, Watch
from vlltr_plugin.training.messages import info
from vlltr_plugin.training.settings import KEY, SINGLE, Settings

TRIED = 256
"""Number of classes on which a host's loss is tried, spread over all classes: some losses weight only the rare ones."""


@dataclass(frozen=True)
class Plan:
    """A checked re-weighting of a run. The host's own loss runs until weights or radii apply, unless `at_once`."""

    settings: Settings
    criteria: Mapping[str, Criterion]  # by the name of the logits that feed them, the primary one first
    epochs: int | None  # of the run; None where the host does not say
    at_once: bool  # True if it applies from the first step on, as margins do that replace plain cross entropy
    measure: Callable[[], None] | None = None  # a clean pass over the training images
    measure_first: bool = False  # True if a clean pass comes before the first epoch
    name_epoch: Callable[[int], str] = str  # formats an epoch, counted from 0, as the host counts

    @property
    def weightings(self) -> dict[str, Weighting]:
        """By the name of the logits that feed them, the primary one first."""
        return {name: criterion.weighting for name, criterion in self.criteria.items()}

    @property
    def primary(self) -> Weighting:
        """The weighting reported in the log."""
        return next(iter(self.criteria.values())).weighting

    @property
    def first_epoch(self) -> int:
        """The first epoch, from 0, with weights or measured radii."""
        measured = self.settings.every if self.primary.uses_logits and not self.measure_first else 0
        return max(self.primary.start_epoch, measured)

    def source(self) -> str:
        """Says which logits feed the statistics; empty if none do, or if a single output is streamed."""
        branch, source = self.settings.branch, self.settings.source
        if not self.primary.uses_logits or (branch, source) == (SINGLE, "stream"):
            return ""
        named = {SINGLE: "the", "each": "each branch's own"}.get(branch, f"the {branch}")
        return f" from {named} logits ({source})"

    def announcement(self) -> str:
        """Says in one sentence what the run will do."""
        settings, weighting, name = self.settings, self.primary, self.name_epoch
        if settings.type == "none":
            return "type none: the host's own loss in all epochs."
        options = "".join(f", {key} {value}" for key, value in settings.options.items())
        form, tau = "loss weights", getattr(next(iter(self.criteria.values())), "tau", None)
        if tau is not None:
            form = f"margins (logit adjustment, tau {tau:g})"
        when = f"from epoch {name(self.first_epoch)} on"
        if self.at_once:
            measured = f", and measured radii apply {when}" if weighting.uses_logits else ""
            when = f"from the first step on: epoch 0 is not the baseline's{measured}"
        alpha = weighting.weights_for(weighting.log_radius64)[weighting.class_counts > 0]
        radii = "with equal radii alpha runs" if weighting.uses_logits else "alpha runs"
        spread = f"{radii} from {alpha.min():.3g} to {alpha.max():.3g}"
        return f"{settings.type}{options}{self.source()} as {form}, {when}; {spread}."

    def never_applies(self) -> str:
        """A warning if the run ends before its weights or radii apply; otherwise empty."""
        weighting, first = self.primary, self.first_epoch
        if self.epochs is None or first < self.epochs or not (weighting.uses_logits or weighting.has_radii):
            return ""
        what = "plain logit adjustment, by the draws or counts alone" if self.at_once else "the baseline, exactly"
        return (
            f"the weights apply from epoch {first} on, counted from 0, but there are {self.epochs} epochs: they never "
            f"apply, and the run is {what}. Lower `start_epoch` (or `every`), or train more epochs."
        )

    def announce(self) -> None:
        """Prints what the run will do, or a warning if nothing; both if margins apply without measured radii."""
        warning = self.never_applies()
        if self.at_once or not warning:
            info(self.announcement())
        if warning:
            info(f"warning: {warning}")

    def apply(
        self, base: nn.Module, output_dir: Path | None = None, watch: Watch | None = None
    ) -> tuple[HostCriterion, EpochHook]:
        """Returns the criterion that replaces the host's `base`, and the hook that ends its epochs."""
        clean_pass = self.measure if self.settings.source == "clean_pass" else None
        criterion = HostCriterion(base, self.criteria, watch, observes=clean_pass is None, adjusts=self.at_once)
        return criterion, EpochHook(self.settings, criterion, output_dir, clean_pass)


def make_criteria(
    settings: Settings,
    counts: Tensor,
    draws: Tensor,
    *,
    smoothing: float,
    base: BaseLoss | str = "softmax",
    tau: float = 1.0,
    names: Sequence[str] = (SINGLE,),
) -> dict[str, Criterion]:
    """Makes one criterion for each kind of logits that feeds statistics; ValueError for options that do not fit."""
    criteria: dict[str, Criterion] = {}
    for name in names:
        try:
            weighting = build_weighting(settings.type, counts, draws, **settings.options)
        except TypeError as error:
            raise ValueError(f"Expected other values in {KEY} than {settings.options} ({error}).") from error
        if settings.adjusts:
            criteria[name] = LogitAdjustedLoss(weighting, tau, smoothing)
        else:
            criteria[name] = ReweightedLoss(weighting, base, smoothing)
    return criteria


def check_base_loss(
    base: Callable[[Tensor, Tensor], Tensor],
    expected: Criterion,
    named: str,
    equation: str = "softmax cross entropy",
    *,
    mixed: bool = False,
    device: Any = "cpu",
    advice: str = "",
) -> None:
    """Tries a host's loss on made-up logits; ValueError unless it is the mean of the expected one with equal radii.

    `named` is what the host calls its loss, `equation` the expected one in words, `mixed` whether the host mixes labels
    (targets are then float `[B, C]`); `advice` ends the message.
    """
    if isinstance(base, HostCriterion):
        raise ValueError("Expected a loss that is not re-weighted yet: call attach once.")
    present, smoothing, kind = expected.weighting.class_counts > 0, expected.smoothing, "hard labels"
    labels = present.nonzero().flatten()
    labels = labels[torch.linspace(0, len(labels) - 1, min(len(labels), TRIED), dtype=torch.float64).long()].repeat(2)
    logits = 4.0 * torch.sin(torch.arange(len(labels) * len(present), dtype=torch.float32)).view(-1, len(present))
    # The label's logit is raised, more for later classes: else label smoothing cancels in the mean over many rows.
    logits[torch.arange(len(labels)), labels] += 1.0 + 3.0 * labels / len(present)
    logits[:, ~present] = -1e4
    targets = labels
    if mixed:
        hard, kind = F.one_hot(labels, len(present)).float(), "mixed labels (mixup or cutmix is on)"
        targets = (1.0 - smoothing) * (0.7 * hard + 0.3 * hard.flip(0)) + smoothing / len(present)

    name, right = type(base).__name__, float(expected.losses(logits, targets).mean())  # before `base` may change them
    try:
        found = float(base(logits.to(device), targets.to(device)))
    except Exception as error:
        raise ValueError(f"Expected {named} to take {kind} but {name} fails on them ({error}){advice}.") from error
    if not abs(found - right) <= TOLERANCE * max(1.0, abs(right)):
        raise ValueError(
            f"Expected {named} to be {equation} for {kind} with smoothing {smoothing:g}, averaged over the batch, but "
            f"{name} gives {found:.6g} where that gives {right:.6g}: re-weighting would change more than the "
            f"weights{advice}."
        )
