"""The plan of `attach` for a run of the host: makes every check that is possible before training; changes nothing."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from vlltr_plugin.core.criterion import ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.hosts.plan import Plan, check_base_loss, make_criteria
from vlltr_plugin.hosts.vl_ltr.branches import BRANCHES, IMAGE_TEXT, VISUAL
from vlltr_plugin.hosts.vl_ltr.clean_pass import CleanPass, observe_clean
from vlltr_plugin.training.draws import class_counts_of, expected_draws
from vlltr_plugin.training.settings import asked, parse


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
    if other := misfit(base, "logits", "targets"):
        raise ValueError(
            "Expected the base criterion to be called as base_criterion(logits, targets) but "
            f"{type(base).__name__} is not: {other}. Take `reweight` out of the config, or make the base criterion "
            "plain softmax cross entropy."
        )
    expected = ReweightedLoss(Uniform([1] * num_classes), smoothing=smoothing)
    check_base_loss(base, expected, "the base criterion", mixed=soft, advice=ADVICE)


ADVICE = (
    ": make mixup, cutmix, smoothing and loss_type agree (with mixup or cutmix loss_type='softCE'; without both "
    "'smoothCE', or 'CE' with smoothing=0)"
)


def plan(args: Any, *, model: nn.Module, criterion: nn.Module, dataset: Any, sampler: Any, mixup: Any | None) -> Plan:
    """Checks a run that asks for re-weighting; ValueError says what to change. Arguments as for `attach`."""
    if getattr(args, "pretrain_cvlp", False):
        raise ValueError(
            "Expected the recognition stage (pretrain_cvlp=False) but this is the pre-training stage, whose targets "
            "are no classes: take `reweight` out of its config."
        )
    two_branch = bool(getattr(args, "two_branch", False))
    settings = parse(asked(args), BRANCHES if two_branch else ())
    base = getattr(criterion, "base_criterion", None)
    if not isinstance(base, nn.Module):
        raise ValueError(
            f"Expected a criterion with a module `base_criterion`, as VL-LTR's DistillationLoss has, but got "
            f"{type(criterion).__name__}: wrap it as the host does, or use ReweightedLoss in your own loop."
        )
    smoothing, classes = smoothing_of(base, mixup), args.nb_classes
    check_base_criterion(base, classes, smoothing, soft=mixup is not None)
    counts = class_counts_of(dataset.targets, classes)
    draws = expected_draws(sampler, dataset.targets, classes)
    names = (IMAGE_TEXT, VISUAL) if settings.branch == "each" else (settings.branch,)
    criteria = make_criteria(settings, counts, draws, smoothing=smoothing, names=names)
    measure = None
    if settings.source == "clean_pass":
        weightings = {name: criterion.weighting for name, criterion in criteria.items()}
        measure = partial(CleanPass(args, model, dataset).run, partial(observe_clean, weightings))
    epochs = getattr(args, "epochs", None)
    return Plan(
        settings, criteria, epochs if isinstance(epochs, int) else None, at_once=settings.adjusts, measure=measure
    )
