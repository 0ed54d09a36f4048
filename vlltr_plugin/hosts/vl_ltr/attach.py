"""`attach` adds class re-weighting to a run of VL-LTR, if the run asks for it."""

from pathlib import Path
from typing import Any

from torch import nn

from vlltr_plugin.core.ranks import is_first_rank
from vlltr_plugin.hosts.door import enter
from vlltr_plugin.hosts.plan import Plan
from vlltr_plugin.hosts.vl_ltr.branches import OutputWatch
from vlltr_plugin.hosts.vl_ltr.fast import speed_up
from vlltr_plugin.hosts.vl_ltr.plan import plan
from vlltr_plugin.training.hook import EpochHook, Hook
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import misspelling, reweight_setting


def attach(
    args: Any, *, model: nn.Module, criterion: nn.Module, dataset: Any, sampler: Any, mixup: Any | None = None
) -> Hook:
    """VL-LTR: wraps the base criterion in place and returns the epoch hook (other hosts have an `attach` of their own).

    With `form="logit_adjustment"` in `reweight`, the class weights become margins (see `Settings`). The run then
    differs from the baseline from its first step on; a message says so.

    `fast_head` and `fast_tower` among the arguments speed the model up first (see `vlltr_plugin.hosts.vl_ltr.fast`).
    Without `reweight` among the arguments (or with None or False), and with `--eval`, it changes nothing and returns a
    hook that does nothing. All checks that are possible before training run before anything is changed; the rest
    (width of the logits, outputs of the model, smoothing in the targets) run at the first step.

    Args:
        args: the host's arguments. Used: `reweight`, `two_branch`, `nb_classes`, `pretrain_cvlp`, `eval`,
            `output_dir` and, for a clean pass, `device`, `batch_size`, `num_workers`.
        model: the model that the host calls, DDP included.
        criterion: the host's criterion; its attribute `base_criterion` is called as `base_criterion(logits, targets)`.
        dataset: the training set; its `targets` hold one label for each image.
        sampler: the training sampler; its `weights`, if it has any, give the expected draws.
        mixup: the host's mixup function, or None.

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
    args.reweight = reweight  # with mmcv's ConfigDict in it, the host's checkpoints could not be loaded safely
    if getattr(args, "eval", False):
        return Hook(trains=False)
    with print_warnings():
        planned = plan(args, **parts)
    hook = apply(planned, args, model, criterion)
    planned.announce()
    return hook


def apply(planned: Plan, args: Any, model: nn.Module, criterion: Any) -> EpochHook:
    """Replaces the host's base criterion by the re-weighted one, and returns the hook."""
    watch = OutputWatch(model, bool(getattr(args, "two_branch", False)))
    output_dir = Path(args.output_dir) if getattr(args, "output_dir", "") and is_first_rank() else None
    criterion.base_criterion, hook = planned.apply(criterion.base_criterion, output_dir, watch)
    return hook
