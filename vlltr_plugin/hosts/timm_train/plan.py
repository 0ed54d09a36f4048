"""The plan of `attach` for a run of train.py: makes every check and changes nothing."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.core.base_losses import BaseLoss, SigmoidLosses, SoftmaxLosses
from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.registry import build_weighting
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.timm_train.data import counts_and_draws
from vlltr_plugin.training.host_criterion import TOLERANCE, HostCriterion
from vlltr_plugin.training.settings import Settings, parse

VIEWS = "shows the loss several views of each image, which would count as several images in the radii"
REFUSED = {
    "jsd_loss": f"{VIEWS}, and adds a term between them that has no label to weight",
    "aug_splits": VIEWS,
    "naflex_loader": "draws images in batches whose shares of the classes are not known",
    "bce_target_thresh": "makes 0 or 1 of the targets, so that smoothing and mixtures cannot be told apart",
    "bce_pos_weight": "weights the classes' positive terms in a way of its own",
}
"""Arguments of train.py that cannot be combined with re-weighting, and why."""


class MeanSigmoidLosses(SigmoidLosses):
    """Sigmoid cross entropy averaged over the classes, as `--bce-loss` has it without `--bce-sum`."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits to losses, both `[B, C]`."""
        return super().__call__(logits) / logits.shape[1]


@dataclass(frozen=True)
class Plan:
    """A re-weighting that fits a run; `epochs` of the run."""

    settings: Settings
    weighting: Weighting
    loss: Criterion
    epochs: int

    def announcement(self) -> str:
        """What will be done, or a warning that nothing will."""
        weighting, options = self.weighting, "".join(f", {key} {value}" for key, value in self.settings.options.items())
        named = f"{self.settings.type}{options} as {self.settings.form}"
        alpha = weighting.weights_for(weighting.log_radius64)[weighting.class_counts > 0]
        equal = "with equal radii " if weighting.uses_logits else ""
        spread = f"{equal}alpha runs from {alpha.min():.3g} to {alpha.max():.3g}"
        first = max(weighting.start_epoch, int(weighting.uses_logits))
        if self.settings.adjusts:
            return f"{named}, from epoch 0 on (measured radii from epoch {first} on); {spread}."
        if first < self.epochs or self.settings.type == "none":
            return f"{named}, from epoch {first} on; {spread}."
        return (
            f"warning: {named} would apply from epoch {first} on, counted from 0, but there are {self.epochs} epochs: "
            "the run is the plain one. Lower start_epoch, or train more epochs."
        )


def plan(args: argparse.Namespace, train_loss_fn: nn.Module, loader: Any) -> Plan | None:
    """Checks everything that can be known before training; None without `--reweight`.

    Raises:
        ValueError: naming what to change, when this run cannot be re-weighted.
    """
    if args.reweight is None:
        return None
    if isinstance(train_loss_fn, HostCriterion):
        raise ValueError("Expected a training loss that is not re-weighted yet: call attach once.")
    for name, reason in REFUSED.items():
        if getattr(args, name, None) not in (None, False, 0):
            raise ValueError(
                f"Expected no --{name.replace('_', '-')} with --reweight, since it {reason}: leave one of them out."
            )
    settings = parse({"type": args.reweight, **args.reweight_opt})
    if settings.source != "stream":
        raise ValueError(f"Expected source=stream in --reweight-opt but got {settings.source!r}.")
    binary = bool(getattr(args, "bce_loss", False))
    if binary and settings.adjusts:
        raise ValueError("Expected form=loss_weight with --bce-loss: logit adjustment is of softmax cross entropy.")
    base = (SigmoidLosses() if getattr(args, "bce_sum", False) else MeanSigmoidLosses()) if binary else SoftmaxLosses()
    check_base_loss(train_loss_fn, base, args)
    counts, draws = counts_and_draws(loader, args.num_classes)
    try:
        weighting = build_weighting(settings.type, counts, draws, **settings.options)
    except TypeError as error:
        raise ValueError(f"Expected other values in --reweight-opt than {settings.options} ({error}).") from error
    loss: Criterion = ReweightedLoss(weighting, base, args.smoothing)
    if settings.adjusts:
        loss = LogitAdjustedLoss(weighting, smoothing=args.smoothing)
    return Plan(settings, weighting, loss, args.epochs)


def check_base_loss(train_loss_fn: nn.Module, base: BaseLoss, args: argparse.Namespace) -> None:
    """Runs the training loss on made-up logits and compares it with what will be weighted in its place.

    Raises:
        ValueError: when it fails on them, or gives something else.
    """
    classes, smoothing = args.num_classes, args.smoothing
    targets = (7 * torch.arange(8)) % classes
    logits = 4.0 * torch.sin(torch.arange(8.0 * classes)).view(8, classes)
    mixed = args.mixup > 0 or args.cutmix > 0 or args.cutmix_minmax is not None
    if mixed:
        hard = F.one_hot(targets, classes).float()
        targets = (1.0 - smoothing) * (0.7 * hard + 0.3 * hard.flip(0)) + smoothing / classes
    right = float(ReweightedLoss(Uniform([1] * classes), base, smoothing).losses(logits, targets).mean())
    name, kind = type(train_loss_fn).__name__, "mixed labels" if mixed else "hard labels"
    expected = "sigmoid" if isinstance(base, SigmoidLosses) else "softmax"
    try:
        found = float(train_loss_fn(logits.to(args.device), targets.to(args.device)))
    except Exception as error:
        raise ValueError(f"Expected a training loss of {kind} but {name} fails on them ({error}).") from error
    if not abs(found - right) <= TOLERANCE * max(1.0, abs(right)):
        raise ValueError(
            f"Expected the training loss to be the mean {expected} cross entropy of {kind} "
            f"with smoothing {smoothing:g}, but {name} gives {found:.6g} where that gives {right:.6g}: "
            "--reweight would change more than the weights."
        )
