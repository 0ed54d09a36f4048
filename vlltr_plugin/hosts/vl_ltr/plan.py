"""The plan of `attach` for a run of the host: makes every check that is possible before training; changes nothing."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.core.criterion import ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.registry import build_weighting
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.vl_ltr.branches import BRANCHES, IMAGE_TEXT, VISUAL
from vlltr_plugin.hosts.vl_ltr.clean_pass import CleanPass
from vlltr_plugin.training.draws import class_counts_of, expected_draws
from vlltr_plugin.training.host_criterion import TOLERANCE, HostCriterion
from vlltr_plugin.training.settings import Settings, parse, reweight_setting


def misfit(function: Callable[..., Any], *names: str) -> str | None:
    """Why `function` cannot be called with positional arguments of these names; None if it can."""
    called: Any = function.forward if isinstance(function, nn.Module) else function
    try:
        inspect.signature(called).bind(*names)
    except TypeError as error:  # "missing a required argument: 'epoch'"
        return str(error)
    except ValueError:  # of some builtins
        return None
    return None


def smoothing_of(base: Callable[[Tensor, Tensor], Tensor], mixup: Any | None) -> float:
    """The label smoothing that the host trains with: the mixup function's, or the base criterion's own."""
    if mixup is None:
        return float(getattr(base, "smoothing", getattr(base, "label_smoothing", 0.0)))
    if not hasattr(mixup, "label_smoothing"):
        raise ValueError(f"Expected {type(mixup).__name__} to have the attribute `label_smoothing` but it has none.")
    return float(mixup.label_smoothing)


def check_base_criterion(
    base: Callable[[Tensor, Tensor], Tensor], num_classes: int, smoothing: float, soft: bool
) -> None:
    """Raises ValueError unless the base criterion is the mean softmax cross entropy, tried on made-up logits."""
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


@dataclass(frozen=True)
class Plan:
    """A re-weighting that fits a run."""

    settings: Settings
    weightings: Mapping[str, Weighting]  # by the name of the logits that feed them, the primary one first
    base: nn.Module  # the host's base criterion
    smoothing: float  # label smoothing that the host trains with
    two_branch: bool  # whether the model gives visual and image-text logits
    clean_pass: CleanPass | None  # for `source="clean_pass"`
    epochs: int | None  # None where the host does not say

    @property
    def primary(self) -> Weighting:
        """The weighting that the log speaks of."""
        return next(iter(self.weightings.values()))

    def source(self) -> str:
        """Which logits feed the statistics, in words; empty if none do."""
        if not self.primary.uses_logits:
            return ""
        which = "each branch's own" if self.settings.branch == "each" else f"the {self.settings.branch}"
        return f" from {which} logits ({self.settings.source})"

    def announcement(self) -> str:
        """One sentence on what will be done."""
        settings, primary = self.settings, self.primary
        options = "".join(f", {key}={value!r}" for key, value in settings.options.items())
        named = f"{settings.type}{options}{self.source()}"
        present = primary.class_counts > 0
        if settings.adjusts:
            margins = primary.margins[present]
            radii = "With equal radii log" if primary.uses_logits else "Log"
            first = max(1, primary.start_epoch)
            own = f"; measured radii apply from epoch {first} on" if primary.uses_logits else ""
            return (
                f"{named} as logit adjustment of the logits in each loss, from the first step on: epoch 0 is not the "
                f"baseline's. {radii} alpha runs from {margins.min():.3g} to {margins.max():.3g}{own}."
            )
        weights = primary.weights_for(primary.log_radius64)[present]
        spread = f"from {weights.min():.3g} to {weights.max():.3g}"
        if primary.uses_logits:
            spread = f"with equal radii they would run {spread}"
        elif not primary.has_radii:
            spread = "all 1"
        return f"{named}: weights from epoch {primary.start_epoch} on, {spread}."

    def never_applies(self) -> str:
        """What to say where the run ends before its weights or radii could apply; empty where they can."""
        primary, epochs = self.primary, self.epochs
        if epochs is None or not (primary.uses_logits or primary.has_radii):
            return ""
        first = max(primary.start_epoch, self.settings.every if primary.uses_logits else 0)
        if first < epochs:
            return ""
        plain = "plain logit adjustment, by the draws or counts alone"
        what = plain if self.settings.adjusts else "the baseline, exactly"
        return (
            f"the weights apply from epoch {first} on, counted from 0, but there are {epochs} epochs: they never "
            f"apply, and the run is {what}. Lower `start_epoch` (or `every`), or train more epochs."
        )


def plan(args: Any, *, model: nn.Module, criterion: nn.Module, dataset: Any, sampler: Any, mixup: Any | None) -> Plan:
    """Checks a run that asks for re-weighting; ValueError says what to change. Arguments as for `attach`."""
    if getattr(args, "pretrain_cvlp", False):
        raise ValueError(
            "Expected the recognition stage (pretrain_cvlp=False) but this is the pre-training stage, whose targets "
            "are no classes: take `reweight` out of its config."
        )
    two_branch = bool(getattr(args, "two_branch", False))
    settings = parse(reweight_setting(args), BRANCHES if two_branch else ())
    base = _base_criterion(criterion)
    smoothing = smoothing_of(base, mixup)
    check_base_criterion(base, args.nb_classes, smoothing, soft=mixup is not None)
    epochs = getattr(args, "epochs", None)
    return Plan(
        settings=settings,
        weightings=_weightings(settings, args.nb_classes, dataset, sampler),
        base=base,
        smoothing=smoothing,
        two_branch=two_branch,
        clean_pass=CleanPass(args, model, dataset) if settings.source == "clean_pass" else None,
        epochs=epochs if isinstance(epochs, int) else None,
    )


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
