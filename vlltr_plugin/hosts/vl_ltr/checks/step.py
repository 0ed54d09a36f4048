"""One forward step, as the run would make it."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vlltr_plugin.check.results import SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checkout_modules import said_by_host
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned
from vlltr_plugin.hosts.vl_ltr.plan import misfit

STEP = 8
"""Images of the step; one more where the run's batch is odd, since mixup takes pairs."""


def look_at_step(run: Planned) -> str:
    """One forward step in training mode on images that the run's own sampler draws."""
    if not run.parts:
        raise SkipError("takes what main.py builds, which needs the plug-in's lines there")
    args, device = run.args, torch.device(run.args.device)
    if other := misfit(run.parts["model"], "images"):
        raise SkipError(f"only the host's own loop can call its model: {other}")
    criterion, note = _callable_criterion(run.parts["criterion"])
    size = min(int(args.batch_size), STEP + int(args.batch_size) % 2)
    with said_by_host("running one step"):
        loader = DataLoader(run.parts["dataset"], batch_size=size, sampler=run.parts["sampler"])
        images, targets = (tensor.to(device) for tensor in next(iter(loader)))
        if run.parts.get("mixup") is not None:
            images, targets = run.parts["mixup"](images, targets)
        run.parts["model"].train(bool(getattr(args, "train_mode", True)))  # the host's own returns nothing
        amp = device.type == "cuda" and not getattr(args, "fp32_resume", False)
        with torch.autocast(device.type, enabled=amp):
            outputs = run.parts["model"](images)
            outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
            _refuse_odd_logits(outputs, size, run)
            found = f"{size} images give {len(outputs)} x {list(outputs[0].shape)} finite logits"
            if criterion is None:
                return f"{found}; no loss tried: {note}"
            losses = [_number(criterion(images, logits, targets)) for logits in outputs]
    if not all(map(math.isfinite, losses)):
        raise ReportError(f"Expected a finite loss but got {_numbers(losses)}.")
    return f"{found}, loss {_numbers(losses)}{note}"


def _callable_criterion(criterion: Any) -> tuple[Any, str]:
    """`criterion(images, logits, targets)`, and a note; a fork's that wants more is stood in for by its base."""
    other = misfit(criterion, "samples", "outputs", "targets")
    if other is None:
        return criterion, ""
    base = getattr(criterion, "base_criterion", None)
    if base is None or misfit(base, "outputs", "targets"):
        return None, f"only the host's own loop can call its criterion: {other}"
    name = type(criterion).__name__
    return lambda images, logits, targets: base(logits, targets), f" (of the base criterion; of {name}, {other})"


def _number(loss: Any) -> float:
    """The loss of a criterion that may give parts of it beside."""
    return float(loss[0] if isinstance(loss, tuple | list) else loss)


def _refuse_odd_logits(outputs: tuple[Tensor, ...], size: int, run: Planned) -> None:
    branches = 2 if getattr(run.args, "two_branch", False) else 1
    shapes = [list(logits.shape) for logits in outputs]
    if shapes != [[size, run.classes]] * branches:
        raise ReportError(f"Expected {branches} x [{size}, {run.classes}] logits but the model gives {shapes}.")
    for name, logits in zip(("visual", "image-text") if branches == 2 else ("the",), outputs, strict=True):
        bad = int((~logits.detach().isfinite().all(dim=1)).sum())
        if bad:
            raise ReportError(
                f"Expected finite logits but {bad} of {size} rows of {name} logits are not: look at the weights that "
                "the model starts from, and at the embeddings."
            )


def _numbers(losses: list[float]) -> str:
    return " + ".join(f"{loss:.4g}" for loss in losses)
