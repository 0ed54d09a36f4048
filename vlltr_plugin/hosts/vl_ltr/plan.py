"""The plan of `attach` for a run of VL-LTR: makes all checks that are possible before training; changes nothing."""

import copy
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, Subset

from vlltr_plugin.core.batch import widened
from vlltr_plugin.core.criterion import Criterion, ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.ranks import world_size
from vlltr_plugin.hosts.clean_pass import clean_outputs
from vlltr_plugin.hosts.plan import Plan, check_base_loss, make_criteria
from vlltr_plugin.hosts.vl_ltr.branches import BRANCHES, IMAGE_TEXT, VISUAL
from vlltr_plugin.training.draws import class_counts_of, expected_draws
from vlltr_plugin.training.settings import SINGLE, SUM, parse, reweight_setting

ADVICE = (
    ": make mixup, cutmix, smoothing and loss_type agree (with mixup or cutmix loss_type='softCE'; without both "
    "'smoothCE', or 'CE' with smoothing=0)"
)


def misfit(function: Callable[..., Any], *names: str) -> str | None:
    """The reason why `function` cannot be called with these positional arguments; None if it can."""
    called: Any = function.forward if isinstance(function, nn.Module) else function
    try:
        inspect.signature(called).bind(*names)
    except TypeError as error:  # "missing a required argument: 'epoch'"
        return str(error)
    except ValueError:  # of some builtins
        return None
    return None


def check_base_criterion(
    base: Callable[[Tensor, Tensor], Tensor], num_classes: int, smoothing: float, soft: bool
) -> None:
    """Raises ValueError unless the base criterion computes the mean softmax cross entropy on random logits."""
    if other := misfit(base, "logits", "targets"):
        raise ValueError(
            "Expected the base criterion to be called as base_criterion(logits, targets) but "
            f"{type(base).__name__} is not: {other}. Take `reweight` out of the config, or make the base criterion "
            "plain softmax cross entropy."
        )
    expected = ReweightedLoss(Uniform([1] * num_classes), smoothing=smoothing)
    check_base_loss(base, expected, "the base criterion", mixed=soft, advice=ADVICE)


def plan(args: Any, *, model: nn.Module, criterion: nn.Module, dataset: Any, sampler: Any, mixup: Any | None) -> Plan:
    """Checks a run that asks for re-weighting; ValueError says what to change. Arguments as for `attach`."""
    if getattr(args, "pretrain_cvlp", False):
        raise ValueError(
            "Expected the recognition stage (pretrain_cvlp=False) but this is the pre-training stage, whose targets "
            "are no classes: take `reweight` out of its config."
        )
    two_branch = bool(getattr(args, "two_branch", False))
    settings = parse(reweight_setting(args), BRANCHES if two_branch else ())
    base = getattr(criterion, "base_criterion", None)
    if not isinstance(base, nn.Module):
        raise ValueError(
            f"Expected a criterion with a module `base_criterion`, as VL-LTR's DistillationLoss has, but got "
            f"{type(criterion).__name__}: wrap it as the host does, or use ReweightedLoss in your own loop."
        )
    if mixup is None:
        smoothing = float(getattr(base, "smoothing", getattr(base, "label_smoothing", 0.0)))
    elif hasattr(mixup, "label_smoothing"):
        smoothing = float(mixup.label_smoothing)
    else:
        raise ValueError(f"Expected {type(mixup).__name__} to have the attribute `label_smoothing` but it has none.")
    classes, epochs = args.nb_classes, getattr(args, "epochs", None)
    check_base_criterion(base, classes, smoothing, soft=mixup is not None)
    counts = class_counts_of(dataset.targets, classes)
    draws = expected_draws(sampler, dataset.targets, classes)
    names = (IMAGE_TEXT, VISUAL) if settings.branch == "each" else (settings.branch,)
    criteria = make_criteria(settings, counts, draws, smoothing=smoothing, names=names)
    measure = _clean_pass(args, model, dataset, criteria) if settings.source == "clean_pass" else None
    epochs = epochs if isinstance(epochs, int) else None
    return Plan(settings, criteria, epochs, at_once=settings.adjusts, measure=measure)


def _clean_pass(args: Any, model: nn.Module, dataset: Any, criteria: dict[str, Criterion]) -> Callable[[], None]:
    """Returns a function that feeds each training image to the statistics once, unmixed, with the evaluation transform.

    The ranks share the images; DDP is bypassed. ValueError without the host's transform.
    """
    try:
        build = importlib.import_module("datasets").build_transform
    except (ImportError, AttributeError) as error:
        raise ValueError(
            "Expected the host's datasets.build_transform(is_train, args) for source='clean_pass' but could not "
            f"import it ({error}): use source='stream'."
        ) from error
    if not hasattr(dataset, "pipeline"):
        raise ValueError("Expected the training set to hold its transform as `pipeline` for source='clean_pass'.")
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    clean = copy.copy(dataset)
    clean.pipeline = build(False, args)

    def run() -> None:
        share: Dataset[Any] = clean
        if world_size() > 1:
            share = Subset(clean, range(torch.distributed.get_rank(), len(clean), world_size()))
        for outputs, labels in clean_outputs(
            inner,
            share,
            lambda: inner,
            torch.device(args.device),
            amp=not getattr(args, "fp32_resume", False),
            batch_size=args.batch_size,
            num_workers=getattr(args, "num_workers", 0),
        ):
            observe_clean(criteria, outputs, labels)

    return run


def observe_clean(criteria: dict[str, Criterion], outputs: Any, labels: Tensor) -> None:
    """Feeds a batch to each criterion's weighting: the logits of a branch, or their sum."""
    by_name = {SINGLE: outputs} if isinstance(outputs, Tensor) else {VISUAL: outputs[0], IMAGE_TEXT: outputs[1]}
    for name, criterion in criteria.items():
        logits = sum(widened(tensor) for tensor in by_name.values()) if name == SUM else by_name[name]
        criterion.weighting.observe(torch.as_tensor(logits), labels)
