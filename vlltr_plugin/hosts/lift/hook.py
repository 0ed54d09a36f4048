"""`attach` adds class re-weighting to a run of LIFT, if the run asks for it."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.frequency import InverseFrequency, Uniform
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.hosts.door import enter
from vlltr_plugin.hosts.lift.settings import attached, given, read
from vlltr_plugin.hosts.lift.trainer import check_output, class_counts, clean_pass, draws_of
from vlltr_plugin.hosts.plan import Plan, check_base_loss, make_criteria
from vlltr_plugin.training.hook import NOT_CALLED, EpochHook, Hook, Statistics
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import KEY, SINGLE

SEVERAL = 1.5
"""Logits per image of an epoch. From this number on, the criterion is assumed to be called several times an image."""


def attach(trainer: Any) -> Hook:
    """Wraps the trainer's criterion and returns the epoch hook.

    Without `reweight.type` in the config it changes nothing and returns a hook that does nothing. All checks that are
    possible before training run before anything is changed. The host's own criterion runs until weights or radii
    apply.

    Args:
        trainer: the host's `Trainer`, in `train`, right before the epoch loop (after `DataParallel`).

    Returns:
        The hook, with `end_epoch(epoch_idx)`.

    Raises:
        ValueError: naming what to change, when this run cannot be re-weighted.
    """
    attached()
    enter(trainer)
    with print_warnings():
        planned = plan(trainer)
    if planned is None:
        if left := ", ".join(f"{KEY}.{key}" for key in given(trainer.cfg)):
            info(f"there is {left} but no {KEY}.type: nothing is re-weighted.")
        return Hook()
    planned.announce()
    return apply(planned, trainer)


def apply(planned: Plan, trainer: Any) -> "LiftHook":
    """Replaces the trainer's criterion by the re-weighted one; measures the radii first if `measure_first` is set."""
    trainer.criterion, hook = planned.apply(trainer.criterion, Path(trainer.cfg.output_dir))
    if planned.measure is not None and planned.measure_first:
        planned.measure()
        with print_warnings():
            planned.primary.end_epoch(-1)  # number of the epoch before the first
    return LiftHook(trainer, hook)


def plan(trainer: Any) -> Plan | None:
    """Makes all checks that are possible before training; ValueError says what to change. None without a type."""
    asked = given(trainer.cfg)
    if "type" not in asked:
        return None
    loss_type, epochs = trainer.cfg.loss_type, trainer.cfg.num_epochs
    settings, tau, measure_first = read(asked, loss_type)
    counts, draws = class_counts(trainer), draws_of(trainer)
    smoothing = float(getattr(trainer.criterion, "label_smoothing", 0.0))
    expected: Criterion
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the weighting below warns about classes without images
        if loss_type == "CE":
            equation, expected = "softmax cross entropy", ReweightedLoss(Uniform(counts), smoothing=smoothing)
        else:
            equation, expected = "cross entropy of logits + log n_i", LogitAdjustedLoss(InverseFrequency(counts))
    named = f"the criterion of loss_type {loss_type}"
    check_base_loss(trainer.criterion, expected, named, equation, device=trainer.device)
    criteria = make_criteria(settings, counts, draws, smoothing=smoothing, tau=tau)
    weighting = criteria[SINGLE].weighting
    measures = weighting.uses_logits and (measure_first or settings.source == "clean_pass")
    if measures:
        check_output(trainer)
    return Plan(
        settings,
        criteria,
        epochs,
        at_once=settings.adjusts and loss_type == "CE",
        measure=partial(clean_pass, trainer, weighting.observe) if measures else None,
        measure_first=measure_first,
        name_epoch=lambda epoch: f"[{epoch + 1}/{epochs}]",
    )


class LiftHook(Hook):
    """The epoch hook of a trainer: updates weights, prints a line, writes TensorBoard logs and arrays."""

    def __init__(self, trainer: Any, hook: EpochHook) -> None:
        super().__init__()
        self._trainer, self._criterion, self._hook = trainer, trainer.criterion, hook
        self.weightings = hook.weightings
        self._said = False

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch (from 0); ValueError if the loop did not call the re-weighted criterion in it."""
        statistics = self._hook.end_epoch(epoch)
        came, images = float(self._criterion.criteria[SINGLE].drawn.sum()), len(self._trainer.train_loader.sampler)
        if self._criterion.streams and came >= SEVERAL * images and not self._said:
            self._said = True
            info(
                f"warning: trainer.criterion got {came:.0f} logits in an epoch of {images} images. If they come "
                f"from different outputs, their statistics are mixed and the radii are wrong: give {KEY}.source "
                f"clean_pass, which reads the logits that the model returns, or a {KEY}.type without radii. This "
                "warning is shown once."
            )
        if self._trainer.criterion is not self._criterion or statistics[f"{KEY}_drawn_alpha"] is None:
            raise ValueError(NOT_CALLED)
        known = {name: value for name, value in statistics.items() if value is not None}
        info(
            f"epoch [{epoch + 1}/{self._trainer.cfg.num_epochs}] " + " ".join(f"{k} {v:.6g}" for k, v in known.items())
        )
        writer = getattr(self._trainer, "_writer", None)
        if writer is not None:
            last_step = (epoch + 1) * len(self._trainer.train_loader) - 1
            for name, value in known.items():
                writer.add_scalar(f"train/{name}", value, last_step)
        return statistics
