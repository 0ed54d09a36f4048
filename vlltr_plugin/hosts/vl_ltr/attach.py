"""`attach`: puts class re-weighting into a run of the host, or leaves it alone."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.logit_adjusted_loss import LogitAdjustedLoss
from vlltr_plugin.core.ranks import is_first_rank
from vlltr_plugin.core.registry import build_weighting
from vlltr_plugin.core.reweighted_loss import ReweightedLoss
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.vl_ltr.clean_pass import CleanPass
from vlltr_plugin.hosts.vl_ltr.fast.switch import speed_up
from vlltr_plugin.training.base_criterion import HostCriterion, check_base_criterion, smoothing_of
from vlltr_plugin.training.branches import IMAGE_TEXT, VISUAL, OutputWatch
from vlltr_plugin.training.draws import class_counts_of, expected_draws
from vlltr_plugin.training.hook import EpochHook, EvaluationHook, NoHook
from vlltr_plugin.training.messages import say, warnings_said
from vlltr_plugin.training.settings import Settings, asked, misspelling, parse


def attach(
    args: Any,
    *,
    model: nn.Module,
    criterion: nn.Module,
    dataset: Any,
    sampler: Any,
    mixup: Any | None = None,
) -> NoHook:
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
    if not getattr(args, "eval", False):  # an evaluation runs the host's own code
        speed_up(args, model)
    reweight = asked(args)
    if reweight is None:
        if sentence := misspelling(args):
            say(sentence)
        return NoHook()
    args.reweight = reweight  # mmcv's ConfigDict would make the host's checkpoints unsafe to load
    if getattr(args, "eval", False):
        return EvaluationHook()
    if getattr(args, "pretrain_cvlp", False):
        raise ValueError(
            "Expected the recognition stage (pretrain_cvlp=False) but this is the pre-training stage, whose targets "
            "are no classes: take `reweight` out of its config."
        )
    settings = parse(reweight, bool(getattr(args, "two_branch", False)))
    base = _base_criterion(criterion)
    smoothing = smoothing_of(base, mixup)
    check_base_criterion(base, args.nb_classes, smoothing, soft=mixup is not None)
    with warnings_said():
        weightings = _weightings(settings, args.nb_classes, dataset, sampler)
    clean_pass = CleanPass(args, model, dataset) if settings.source == "clean_pass" else None

    kind = LogitAdjustedLoss if settings.adjusts else ReweightedLoss
    losses: dict[str, Criterion] = {name: kind(own, smoothing=smoothing) for name, own in weightings.items()}
    watch = OutputWatch(model, two_branch=bool(getattr(args, "two_branch", False)))
    serving = {branch: losses.get(branch, next(iter(losses.values()))) for branch in watch.names}
    wrapped = HostCriterion(base, watch, serving, {} if clean_pass else losses, args.nb_classes, settings.adjusts)
    criterion.base_criterion = wrapped
    output_dir = Path(args.output_dir) if getattr(args, "output_dir", "") and is_first_rank() else None
    run = partial(clean_pass.run, partial(_observe_clean, weightings)) if clean_pass else None
    _announce(settings, weightings)
    never = never_weighted(next(iter(weightings.values())), settings.every, getattr(args, "epochs", None))
    if never:
        say(f"warning: {never}")
    return EpochHook(settings, wrapped, weightings, output_dir, run)


def _base_criterion(criterion: nn.Module) -> nn.Module:
    base = getattr(criterion, "base_criterion", None)
    if isinstance(base, HostCriterion):
        raise ValueError("Expected a criterion that is not re-weighted yet: call attach once.")
    if not isinstance(base, nn.Module):
        raise ValueError(
            f"Expected a criterion with a module `base_criterion`, as VL-LTR's DistillationLoss has, but got "
            f"{type(criterion).__name__}: wrap it as the host does, or use ReweightedLoss in your own loop."
        )
    return base


def _weightings(settings: Settings, num_classes: int, dataset: Any, sampler: Any) -> dict[str, Weighting]:
    """One weighting for each kind of logits that feeds statistics, the image-text logits' first."""
    counts = class_counts_of(dataset.targets, num_classes)
    draws = expected_draws(sampler, dataset.targets, num_classes)
    names = (IMAGE_TEXT, VISUAL) if settings.branch == "each" else (settings.branch,)
    return {name: build_weighting(settings.type, counts, draws, **settings.options) for name in names}


def _observe_clean(weightings: dict[str, Weighting], outputs: Any, labels: Tensor) -> None:
    by_name = {"single": outputs} if isinstance(outputs, Tensor) else {VISUAL: outputs[0], IMAGE_TEXT: outputs[1]}
    for name, weighting in weightings.items():
        logits = sum(tensor.float() for tensor in by_name.values()) if name == "sum" else by_name[name]
        weighting.observe(torch.as_tensor(logits), labels)


def _announce(settings: Settings, weightings: dict[str, Weighting]) -> None:
    primary = next(iter(weightings.values()))
    options = "".join(f", {key}={value!r}" for key, value in settings.options.items())
    which = "each branch's own" if settings.branch == "each" else f"the {settings.branch}"
    weights = primary.weights_for(primary.log_radius64)[primary.class_counts > 0]
    feed = f" from {which} logits ({settings.source})" if primary.uses_logits else ""
    spread = f"with equal radii they would run from {weights.min():.3g} to {weights.max():.3g}"
    if not primary.uses_logits:
        spread = f"from {weights.min():.3g} to {weights.max():.3g}" if primary.has_radii else "all 1"
    if settings.adjusts:
        say(
            f"{settings.type}{options}{feed} as logit adjustment of the logits in each loss, from the first step on: "
            f"epoch 0 is not the baseline's. {_adjusted(primary)}"
        )
        return
    say(f"{settings.type}{options}{feed}: weights from epoch {primary.start_epoch} on, {spread}.")


def never_weighted(weighting: Weighting, every: int, epochs: Any) -> str:
    """What to say where a run ends before its weights could apply; empty where they can.

    Args:
        weighting: the run's.
        every: epochs from one measurement of the radii to the next.
        epochs: of the run; anything but a number says nothing.
    """
    if not isinstance(epochs, int) or not (weighting.uses_logits or weighting.has_radii):
        return ""
    first = max(weighting.start_epoch, every if weighting.uses_logits else 0)
    if first < epochs:
        return ""
    return (
        f"the weights apply from epoch {first} on, counted from 0, but there are {epochs} epochs: they never apply, "
        "and the run is the baseline, exactly. Lower `start_epoch` (or `every`), or train more epochs."
    )


def _adjusted(weighting: Weighting) -> str:
    margins = weighting.margins[weighting.class_counts > 0]
    radii = "With equal radii log" if weighting.uses_logits else "Log"
    spread = f"{radii} alpha runs from {margins.min():.3g} to {margins.max():.3g}"
    own = f"; measured radii apply from epoch {max(1, weighting.start_epoch)} on" if weighting.uses_logits else ""
    return f"{spread}{own}."
