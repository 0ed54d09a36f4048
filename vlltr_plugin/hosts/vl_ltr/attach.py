"""`attach`: puts class re-weighting into a run of the host, or leaves it alone."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.core.batch import widened
from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.ranks import is_first_rank
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.door import enter
from vlltr_plugin.hosts.vl_ltr.branches import IMAGE_TEXT, VISUAL, OutputWatch
from vlltr_plugin.hosts.vl_ltr.fast import speed_up
from vlltr_plugin.hosts.vl_ltr.plan import Plan, plan
from vlltr_plugin.training.hook import EpochHook, Hook
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import SINGLE, misspelling, reweight_setting


def attach(
    args: Any,
    *,
    model: nn.Module,
    criterion: nn.Module,
    dataset: Any,
    sampler: Any,
    mixup: Any | None = None,
) -> Hook:
    """Wraps the host's base criterion in place and returns the epoch hook.

    With `form="logit_adjustment"` in `reweight` the class weights become margins, see `Settings`: the run differs from
    the baseline from its first step on, which is said.

    `fast_head` and `fast_tower` among the arguments speed the model up first (see `vlltr_plugin.hosts.vl_ltr.fast`).
    Without `reweight` among the arguments (or with None or False) it returns a hook that does nothing, and touches
    nothing; with `--eval` as well. Everything that can be known before training is checked before anything is
    changed; the rest (width of the logits, outputs of the model, smoothing in the targets) at the first step.

    Args:
        args: the host's arguments; reads `reweight`, `two_branch`, `nb_classes`, `pretrain_cvlp`, `eval`,
            `output_dir` and, for a clean pass, `device`, `batch_size`, `num_workers`.
        model: the model that the host calls, DDP included.
        criterion: has the attribute `base_criterion`, called as `base_criterion(logits, targets)`.
        dataset: the training set, with `targets`, one label for each image.
        sampler: the training sampler; its `weights`, if any, give the expected draws.
        mixup: the host's mixup function, None when there is none.

    Returns:
        The hook: `load(checkpoint)`, `begin_epoch(epoch)`, `end_epoch(epoch)`, `checkpoint()`.

    Raises:
        ValueError: naming what to change, when the configuration cannot be re-weighted.
    """
    parts = {"model": model, "criterion": criterion, "dataset": dataset, "sampler": sampler, "mixup": mixup}
    enter({"args": args, **parts})
    if not getattr(args, "eval", False):  # an evaluation runs the host's own code
        speed_up(args, model)
    reweight = reweight_setting(args)
    if reweight is None:
        if sentence := misspelling(args):
            info(sentence)
        return Hook()
    args.reweight = reweight  # mmcv's ConfigDict would make the host's checkpoints unsafe to load
    if getattr(args, "eval", False):
        return Hook(trains=False)
    with print_warnings():
        planned = plan(args, **parts)
    hook = apply(planned, args, model, criterion)
    info(planned.announcement())
    if warning := planned.never_applies():
        info(f"warning: {warning}")
    return hook


def apply(planned: Plan, args: Any, model: nn.Module, criterion: nn.Module) -> EpochHook:
    """Puts the re-weighted criterion in the place of the host's base criterion, and returns the hook."""
    settings, weightings = planned.settings, dict(planned.weightings)
    kind = LogitAdjustedLoss if settings.adjusts else ReweightedLoss
    criteria: dict[str, Criterion] = {name: kind(own, smoothing=planned.smoothing) for name, own in weightings.items()}
    watch, clean_pass = OutputWatch(model, planned.two_branch), planned.clean_pass
    wrapped = HostCriterion(planned.base, criteria, watch, observes=not clean_pass, adjusts=settings.adjusts)
    criterion.base_criterion = wrapped
    output_dir = Path(args.output_dir) if getattr(args, "output_dir", "") and is_first_rank() else None
    run = partial(clean_pass.run, partial(_observe_clean, weightings)) if clean_pass else None
    return EpochHook(settings, wrapped, output_dir, run)


def _observe_clean(weightings: dict[str, Weighting], outputs: Any, labels: Tensor) -> None:
    by_name = {SINGLE: outputs} if isinstance(outputs, Tensor) else {VISUAL: outputs[0], IMAGE_TEXT: outputs[1]}
    for name, weighting in weightings.items():
        logits = sum(widened(tensor) for tensor in by_name.values()) if name == "sum" else by_name[name]
        weighting.observe(torch.as_tensor(logits), labels)
