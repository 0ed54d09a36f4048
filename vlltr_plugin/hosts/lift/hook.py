"""`attach`: puts class re-weighting into a run of LIFT, or leaves it alone."""

from functools import partial
from pathlib import Path
from typing import Any

from vlltr_plugin.hosts.door import enter
from vlltr_plugin.hosts.lift.plan import Plan, number_of_classes, plan
from vlltr_plugin.hosts.lift.settings import attached, given
from vlltr_plugin.hosts.lift.trainer import clean_pass
from vlltr_plugin.training.hook import EpochHook, Hook, Statistics
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import KEY, SINGLE

SEVERAL = 1.5
"""Logits for each image of an epoch from which on they come from more than one call of the criterion."""


def attach(trainer: Any) -> Hook:
    """Wraps the trainer's criterion and returns the epoch hook.

    Without `reweight.type` in the config it returns a hook that does nothing, and touches nothing. Everything that can
    be known before training is checked before anything is changed. Until weights or radii apply the host's own
    criterion runs.

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
    info(planned.announcement())
    return apply(planned, trainer)


def apply(planned: Plan, trainer: Any) -> "LiftHook":
    """Puts the re-weighted criterion in the place of the trainer's; measures the radii if that is asked for."""
    weighting = planned.weighting
    classes, at_once = number_of_classes(trainer), planned.adjusts_at_once
    measure = partial(clean_pass, trainer, classes, weighting.observe)
    source = measure if planned.settings.common.source == "clean_pass" else None
    criterion = HostCriterion(trainer.criterion, {SINGLE: planned.loss}, observes=source is None, adjusts=at_once)
    trainer.criterion = criterion
    if planned.settings.measure_first:
        measure()
        with print_warnings():
            weighting.end_epoch(-1)  # the epoch before the first
    hook = EpochHook(planned.settings.common, criterion, Path(trainer.cfg.output_dir), source)
    return LiftHook(trainer, hook)


class LiftHook(Hook):
    """Ends epochs: new weights, one printed line, TensorBoard where the trainer has it, arrays in the output folder."""

    def __init__(self, trainer: Any, hook: EpochHook) -> None:
        super().__init__()
        self._trainer, self._criterion, self._hook = trainer, trainer.criterion, hook
        self.weightings = hook.weightings
        self._said = False

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch, numbered from 0, and returns what `EpochHook.end_epoch` returns.

        Raises:
            ValueError: if the loop did not call the re-weighted criterion in this epoch.
        """
        statistics = self._hook.end_epoch(epoch)
        self._warn_of_several_calls()
        if self._trainer.criterion is not self._criterion or statistics["reweight_drawn_alpha"] is None:
            raise ValueError(
                "Expected the epoch to call trainer.criterion as `attach` has left it but it was replaced or never "
                f"called: this run is not re-weighted. Leave the criterion alone, or {KEY}.type out."
            )
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

    def _warn_of_several_calls(self) -> None:
        """Warns once if each image came more than once: the calls may be for different outputs of the model."""
        came, images = float(self._criterion.criteria[SINGLE].drawn.sum()), len(self._trainer.train_loader.sampler)
        if self._said or not self._criterion.streams or came < SEVERAL * images:
            return
        info(
            f"warning: trainer.criterion got {came:.0f} logits in an epoch of {images} images. If they are those of "
            f"different outputs, the radii belong to none of them: give {KEY}.source clean_pass, which reads the "
            f"logits that the model returns, or a {KEY}.type that reads none. This is said once."
        )
        self._said = True
