"""`attach`: puts class re-weighting into a run of LIFT, or leaves it alone."""

from pathlib import Path
from typing import Any

from vlltr_plugin.hosts.lift.plain_pass import PlainPass
from vlltr_plugin.hosts.lift.plan import Plan, criterion_of, plan
from vlltr_plugin.hosts.lift.settings import LOGIT_ADJUSTMENT, given
from vlltr_plugin.training.base_criterion import HostCriterion
from vlltr_plugin.training.hook import EpochHook
from vlltr_plugin.training.log_line import Statistics
from vlltr_plugin.training.messages import say, warnings_said


class NoHook:
    """Without `reweight.type`: does nothing."""

    def end_epoch(self, epoch: int) -> Statistics:
        """No statistics."""
        return {}


class LiftHook(NoHook):
    """Ends epochs: new weights, one printed line, TensorBoard where the trainer has it, arrays in the output folder.

    Args:
        trainer: the host's.
        criterion: the re-weighted criterion in the place of the host's.
        hook: what does the work.
    """

    def __init__(self, trainer: Any, criterion: HostCriterion, hook: EpochHook) -> None:
        self._trainer, self._criterion, self._hook = trainer, criterion, hook

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training.

        Args:
            epoch: the host's number of the epoch that ends, from 0.

        Returns:
            What `EpochHook.end_epoch` returns.

        Raises:
            ValueError: when the loop has not called the re-weighted criterion: it trained something else.
        """
        statistics = self._hook.end_epoch(epoch)
        if self._trainer.criterion is not self._criterion or statistics["reweight_drawn_alpha"] is None:
            raise ValueError(
                "Expected the epoch to call trainer.criterion as `attach` has left it but it was replaced or never "
                "called: this run is not re-weighted. Leave the criterion alone, or reweight.type out."
            )
        known = {name: value for name, value in statistics.items() if value is not None}
        say(f"epoch [{epoch + 1}/{self._trainer.cfg.num_epochs}] " + " ".join(f"{k} {v:.6g}" for k, v in known.items()))
        writer = getattr(self._trainer, "_writer", None)
        if writer is not None:
            last_step = (epoch + 1) * len(self._trainer.train_loader) - 1
            for name, value in known.items():
                writer.add_scalar(f"train/{name}", value, last_step)
        return statistics


def attach(trainer: Any) -> NoHook:
    """Wraps the trainer's criterion and returns the epoch hook.

    Without `reweight.type` in the config it returns a hook that does nothing, and touches nothing. Everything that can
    be known before training is checked before anything is changed. Until radii apply the host's own criterion runs.

    Args:
        trainer: the host's `Trainer`, in `train`, right before the epoch loop (after `DataParallel`).

    Returns:
        The hook, with `end_epoch(epoch_idx)`.

    Raises:
        ValueError: naming what to change, when this run cannot be re-weighted.
    """
    with warnings_said():
        planned = plan(trainer)
    if planned is None:
        if left := ", ".join(f"reweight.{key}" for key in given(trainer.cfg)):
            say(f"{left} is set, but reweight.type is not: nothing is re-weighted.")
        return NoHook()
    common, weighting = planned.settings.common, planned.weighting
    plain_pass = PlainPass(trainer)
    criterion = criterion_of(trainer, planned)
    clean = (lambda: plain_pass.run(weighting.observe)) if common.source == "clean_pass" else None
    hook = EpochHook(common, criterion, {"single": weighting}, Path(trainer.cfg.output_dir), clean)
    trainer.criterion = criterion
    _announce(planned, trainer.cfg.num_epochs)
    if planned.settings.measure_first:
        plain_pass.run(weighting.observe)
        with warnings_said():
            weighting.end_epoch(-1)  # the epoch before the first
    return LiftHook(trainer, criterion, hook)


def _announce(planned: Plan, num_epochs: int) -> None:
    settings, weighting = planned.settings, planned.weighting
    form = f"margins, tau {settings.tau:g}" if settings.form == LOGIT_ADJUSTMENT else "loss weights"
    options = "".join(f", {key} {value}" for key, value in settings.common.options.items())
    weights = weighting.weights_for(weighting.log_radius64)[weighting.class_counts > 0]
    radii = "with equal radii " if weighting.uses_logits else ""
    first = weighting.start_epoch + 1
    since = f"from epoch [{first}/{num_epochs}] on" if first <= num_epochs else f"in none of {num_epochs} epochs"
    say(
        f"{settings.common.type}{options} as {form}: they apply {since}; {radii}alpha runs from {weights.min():.3g} to "
        f"{weights.max():.3g}."
    )
