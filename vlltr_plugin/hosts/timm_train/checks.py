"""`check` for timm: train.py builds a run in a separate process, where the run is checked, not trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vlltr_plugin.check import CheckResult, Checks, SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import checks
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.host import CheckRequest
from vlltr_plugin.hosts.plan import Plan
from vlltr_plugin.hosts.timm_train.data import counts_and_draws, sampler_of
from vlltr_plugin.hosts.timm_train.forward import autocast, logits_of
from vlltr_plugin.hosts.timm_train.hook import apply, mixes, plan


def run_checks(request: CheckRequest, say: Callable[[CheckResult], None]) -> Checks:
    """Checks a run of train.py."""
    if request.config is not None:
        raise ReportError("Expected no CONFIG for timm: give train.py's arguments as --host-args.")
    if not request.host_args:
        example = '"--data-dir DATA --model resnet50 --reweight class_volume"'
        raise ReportError(f"Expected the arguments of train.py: give --host-args {example}, as in your run.")
    arguments = ["--device", request.device, *request.host_args]
    return checks.run_checks(request, say, arguments, f"{__name__}:check_parts", "train.py")


def check_parts(parts: dict[str, Any], *, send: Send, checkout: str) -> None:
    """Runs in the process of train.py: checks what it passes to `attach` before training."""
    args, loader = parts["args"], parts["loader_train"]

    def data() -> tuple[Tensor, Tensor]:
        try:
            return counts_and_draws(loader, args.num_classes)
        except ValueError as error:
            if args.reweight:
                raise
            raise SkipError(f"{error} A run that is not re-weighted needs none.") from error

    def put_in(planned: Plan) -> None:
        parts["train_loss_fn"], _ = apply(planned, args, parts["train_loss_fn"])

    run = checks.BuiltRun(
        config=f"{args.model}, {args.epochs} epochs of batches of {args.batch_size}",
        sampler=sampler_of(loader),
        counts=lambda: data()[0],
        draws=lambda: data()[1],
        plan=lambda: plan(args, parts["train_loss_fn"], loader),
        apply=put_in,
        step=partial(_step, parts),
    )
    checks.check_built_run(run, send)


def _step(parts: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Logits and loss of a few images of a training batch."""
    args, model = parts["args"], parts["model"]
    splits = max(1, getattr(args, "aug_splits", 0))  # a batch holds as many images of each
    step = splits * math.ceil(checks.STEP / splits)
    images, labels = (tensor[:step].to(args.device) for tensor in next(iter(parts["loader_train"])))
    if mixes(args) and labels.ndim == 1:  # without the prefetcher the loop itself mixes
        labels = (1 - args.smoothing) * F.one_hot(labels, args.num_classes) + args.smoothing / args.num_classes
    model.train()
    with autocast(args):
        logits = logits_of(args, model, images)
        return logits, parts["train_loss_fn"](logits, labels)
