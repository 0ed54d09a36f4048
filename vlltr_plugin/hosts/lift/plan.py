"""The plan of `attach` for a trainer: makes every check and changes nothing."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.frequency import InverseFrequency, Uniform
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.registry import build_weighting
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.lift.settings import LiftSettings, given, read
from vlltr_plugin.hosts.lift.trainer import draws_of, first_output, logits_of
from vlltr_plugin.training.draws import class_counts_of
from vlltr_plugin.training.host_criterion import TOLERANCE, HostCriterion
from vlltr_plugin.training.settings import KEY, LOGIT_ADJUSTMENT


@dataclass(frozen=True)
class Plan:
    """A re-weighting that fits a trainer.

    Until the weights, or radii in the margins of LA, apply the host's own criterion runs, unless `adjusts_at_once`.
    """

    settings: LiftSettings
    weighting: Weighting
    loss: Criterion  # takes the place of the host's criterion
    adjusts_at_once: bool  # from the first step on, as margins in the place of CE do
    epochs: int  # of the run

    @property
    def first_epoch(self) -> int:
        """The first epoch, from 0, that differs from the plain run."""
        if self.adjusts_at_once:
            return 0
        measured = self.settings.common.every if self.weighting.uses_logits and not self.settings.measure_first else 0
        return max(self.weighting.start_epoch, measured)

    def announcement(self) -> str:
        """A sentence on what will be done, and one where nothing will."""
        common, weighting = self.settings.common, self.weighting
        form = f"margins, tau {self.settings.tau:g}" if common.form == LOGIT_ADJUSTMENT else "loss weights"
        options = "".join(f", {key} {value}" for key, value in common.options.items())
        alpha = weighting.weights_for(weighting.log_radius64)[weighting.class_counts > 0]
        radii = "with equal radii alpha runs" if weighting.uses_logits else "alpha runs"
        spread = f"{radii} from {alpha.min():.3g} to {alpha.max():.3g}"
        if common.type == "none":
            return "type none: the host's own loss in all epochs."
        if self.first_epoch >= self.epochs:
            return (
                f"warning: {common.type}{options} as {form} would apply from epoch {self.first_epoch + 1} on, but "
                f"there are {self.epochs}: the run is the plain one. Lower reweight.start_epoch, or train more epochs."
            )
        return f"{common.type}{options} as {form}, from epoch [{self.first_epoch + 1}/{self.epochs}] on; {spread}."


def plan(trainer: Any) -> Plan | None:
    """Checks everything that can be known before training; ValueError says what to change. None without a type."""
    asked = given(trainer.cfg)
    if "type" not in asked:
        return None
    settings = read(asked, trainer.cfg.loss_type)
    if isinstance(trainer.criterion, HostCriterion):
        raise ValueError("Expected a trainer that is not re-weighted yet: call attach once.")
    labels = getattr(trainer.train_loader.dataset, "labels", None)
    if labels is None:
        raise ValueError(
            f"Expected the training set to hold one label an image as `labels`, as LIFT's do, but "
            f"{type(trainer.train_loader.dataset).__name__} does not: the classes cannot be counted."
        )
    classes = number_of_classes(trainer)
    counts = class_counts_of(labels, classes)
    draws = draws_of(trainer.train_loader, labels, classes)
    smoothing = float(getattr(trainer.criterion, "label_smoothing", 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without images the weighting below warns
        equal = LogitAdjustedLoss(InverseFrequency(counts)), ReweightedLoss(Uniform(counts), smoothing=smoothing)
    check_criterion(trainer, equal[trainer.cfg.loss_type == "CE"], counts > 0)
    try:
        weighting = build_weighting(settings.common.type, counts, draws, **settings.common.options)
    except TypeError as error:
        raise ValueError(f"Expected other values in reweight than {settings.common.options} ({error}).") from error
    if weighting.uses_logits and (settings.measure_first or settings.common.source == "clean_pass"):
        check_output(trainer, classes)
    loss: Criterion = ReweightedLoss(weighting, smoothing=smoothing)
    if settings.common.form == LOGIT_ADJUSTMENT:
        loss = LogitAdjustedLoss(weighting, settings.tau, smoothing)
    at_once = settings.common.adjusts and trainer.cfg.loss_type == "CE"
    return Plan(settings, weighting, loss, at_once, trainer.cfg.num_epochs)


def number_of_classes(trainer: Any) -> int:
    """C: as many as the classifier has; the host's own `num_classes` leaves out classes without images."""
    return max(len(getattr(trainer, "classnames", ())), int(trainer.num_classes))


def check_output(trainer: Any, num_classes: int) -> None:
    """Raises ValueError unless the model, called with two images, returns one tensor that can be the logits.

    Only for radii that are measured from the model's output; those that stream are of what the criterion gets.
    """
    try:
        output = first_output(trainer)
    except Exception as error:
        raise ValueError(
            f"Expected a model that can be called with images alone, for {KEY}.source clean_pass and "
            f"{KEY}.measure_first, but it fails ({error}): leave both out."
        ) from error
    logits_of(output, num_classes)


def check_criterion(trainer: Any, expected: Criterion, present: Tensor) -> None:
    """Raises ValueError unless the host's criterion is the expected one with equal radii, tried on made-up logits."""
    loss_type, name, classes = trainer.cfg.loss_type, type(trainer.criterion).__name__, len(present)
    labels = present.nonzero().flatten()
    labels = labels[torch.linspace(0, len(labels) - 1, min(len(labels), TRIED), dtype=torch.float64).long()]
    logits = 4.0 * torch.sin(torch.arange(float(len(labels) * classes))).view(-1, classes)
    logits[:, ~present] = -1e4
    try:
        found = float(trainer.criterion(logits.to(trainer.device), labels.to(trainer.device)))
    except Exception as error:
        raise ValueError(
            f"Expected the criterion of loss_type {loss_type} to take logits [B, {classes}] and labels [B] but {name} "
            f"fails on them ({error})."
        ) from error
    right = float(expected.losses(logits, labels).mean())
    if not abs(found - right) <= TOLERANCE * max(1.0, abs(right)):
        raise ValueError(
            f"Expected the criterion of loss_type {loss_type} to be the mean of {EQUATIONS[loss_type]}, but {name} "
            f"gives {found:.6g} where that gives {right:.6g}: re-weighting would change more than the weights."
        )


TRIED = 256
"""Classes that the host's criterion is tried on, spread over all: some criteria weight only the rare ones."""

EQUATIONS = {"CE": "softmax cross entropy", "LA": "softmax cross entropy of logits + log n_i"}
