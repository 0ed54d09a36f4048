"""`evaluate` for VL-LTR: its own main.py builds model and data, then the checkpoint's parameters are loaded."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.evaluation import (
    EvaluateRequest,
    Progress,
    TrainedModel,
    checkpoint_path,
    differences,
    evaluate_in_host,
    evaluation_loader,
    load_checkpoint,
    load_parameters,
    send_logits,
)
from vlltr_plugin.hosts.host import device_or_default
from vlltr_plugin.hosts.vl_ltr.branches import IMAGE_TEXT, VISUAL
from vlltr_plugin.hosts.vl_ltr.host import CHECKPOINT, class_names, config_path
from vlltr_plugin.training.draws import class_counts_of
from vlltr_plugin.training.settings import KEY

MATTER = (
    *("model", "data_set", "data_path", "desc_path", "input_size", "clip_ms"),
    *("sent_length", "context_length", "cls_token_length", "two_branch"),
)
"""Host arguments that affect the evaluation."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint of the host."""

    model: dict[str, Tensor]  # the parameters and buffers
    epoch: int | None  # epoch after which it was saved, from 0
    args: dict[str, Any]  # the host's arguments of that run; empty if not saved
    reweight: Any = None  # state of the re-weighting, unchecked


def read_checkpoint(path: Path) -> Checkpoint:
    """Loads a checkpoint without running code in it."""
    saved = load_checkpoint(path, "VL-LTR")
    state = saved.get("model", saved) if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReportError(f"{path}: expected `model`, the parameters, in the checkpoint but found none.")
    args, epoch = saved.get("args"), saved.get("epoch")
    return Checkpoint(
        model=state,
        epoch=epoch if isinstance(epoch, int) else None,
        args=dict(vars(args)) if isinstance(args, argparse.Namespace) else {},
        reweight=saved.get(KEY) if state is not saved else None,
    )


def put_in(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Loads a checkpoint's parameters; ReportError if they do not fit the model."""
    misfit = "The checkpoint does not fit the config's model"
    result = load_parameters(model, checkpoint.model, misfit, strict=False)
    misfits = ("missing", result.missing_keys), ("left over", result.unexpected_keys)
    if wrong := [f"{len(keys)} {what} ({keys[0]}, ...)" for what, keys in misfits if keys]:
        raise ReportError(f"{misfit}, parameters are {' and '.join(wrong)}: give the config that it was trained with.")


def open_trained(request: EvaluateRequest, progress: Progress) -> AbstractContextManager[TrainedModel]:
    """Opens a checkpoint in a process of the host."""
    named, checkout = checkpoint_path(request.checkpoint, CHECKPOINT), request.checkout.resolve()
    if request.config is not None:
        config = config_path(request.config, request.checkout)
    else:  # a config is code, so the one that the checkpoint names is used only if it is in the checkout
        name = read_checkpoint(named).args.get("config")
        config = (checkout / name).resolve() if isinstance(name, str) and name else checkout
        if not config.is_file() or not config.is_relative_to(checkout):
            said = "none" if config == checkout else f"{name}, which is not in {checkout}"
            raise ReportError(
                f"Expected --config, as the checkpoint names {said}: give the config that it was trained with."
            )
    return evaluate_in_host(
        request,
        ["--config", str(config), "--device", device_or_default(request.device), *request.host_args],
        f"{__name__}:evaluate",
        named,
        progress,
        host="VL-LTR",
        config=config,
        asked={"split": request.split},
        written=("cached",),
        safe_pickle=True,
    )


def evaluate(
    parts: dict[str, Any], *, send: Send, checkpoint: str, split: str | None, batch_size: int | None, limit: int | None
) -> None:
    """Runs in the host's process with the arguments of `attach`: sends the model's logits of a split, then of val."""
    args, model = parts["args"], parts["model"]
    refuse_pretraining(args)
    saved = read_checkpoint(Path(checkpoint))
    put_in(model, saved)
    model.eval()
    split = split or _reported_split(args)
    batch_size = batch_size or int(1.5 * args.batch_size)
    labels, classes = list(parts["dataset"].targets), int(args.nb_classes)
    data_set, two_branch = str(getattr(args, "data_set", "")), bool(getattr(args, "two_branch", False))
    draws, draws_from = draws_of_run(args, labels, classes, saved.reweight)
    device = torch.device(args.device)

    def forward(images: Tensor) -> Any:
        with torch.autocast(device.type, enabled=device.type == "cuda"):  # as the host evaluates
            outputs = model(images.to(device, non_blocking=True))
        if isinstance(outputs, Tensor) == two_branch:
            raise ReportError(f"The model's outputs do not agree with two_branch={two_branch} in the config.")
        return outputs

    send(
        {
            "split": split,
            "splits": ["val", "test"],
            "classes": classes,
            "counts": np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes),
            "draws": draws.numpy(),
            "draws_from": draws_from,
            "outputs": (VISUAL, IMAGE_TEXT) if two_branch else (),
            "first_share": 0.7 if "INAT" in data_set else 0.2,
            "names": class_names(Path.cwd(), classes, str(getattr(args, "desc_path", ""))),
            "epoch": saved.epoch,
            "data_set": data_set,
            "model": str(args.model),
            "device": str(args.device),
            "batch_size": batch_size,
            "differs": differences(vars(args), saved.args, MATTER),
        }
    )
    for name in dict.fromkeys((split, "val")):
        dataset = importlib.import_module("datasets").build_dataset(split=name, args=args)[0]
        if len(dataset) == 0:
            raise ReportError(f"Expected images in the {name} split but there are none.")
        pin, workers = device.type == "cuda", min(getattr(args, "num_workers", 0), os.cpu_count() or 1)
        loader = evaluation_loader(dataset, limit, batch_size=batch_size, num_workers=workers, pin_memory=pin)
        total = len(loader.dataset)  # type: ignore[arg-type]
        send_logits(send, name, loader, forward, total=total, images=len(dataset))


def _reported_split(args: argparse.Namespace) -> str:
    return "test" if getattr(args, "test", False) else "val"


def evaluate_failed(error: Exception, frames: list[FrameType], *, split: str | None, **_: Any) -> None:
    """Called if main.py failed; goes on if only the validation split is missing, which just serves to choose tau."""
    main = main_frame(frames)
    failed = {frame.f_locals.get("split") for frame in frames if frame.f_code.co_name == "build_dataset"}
    if main is None or failed != {"val"} or (split or _reported_split(main.f_locals["args"])) == "val":
        raise error
    build: Callable[..., Any] = main.f_globals["build_dataset"]
    main.f_globals["build_dataset"] = lambda split, args: ([], 0) if split == "val" else build(split, args)
    main.f_globals["main"](main.f_locals["args"])


def main_frame(frames: list[FrameType]) -> FrameType | None:
    """The stack frame of the host's `main(args)`; None before it is called."""
    found = [frame for frame in frames if frame.f_code.co_name == "main"]
    return next((frame for frame in found if isinstance(frame.f_locals.get("args"), argparse.Namespace)), None)


def refuse_pretraining(args: argparse.Namespace) -> None:
    """Raises ReportError in the pre-training stage."""
    if getattr(args, "pretrain_cvlp", False):
        raise ReportError(
            f"{args.config}: expected a config of the recognition stage but it is of the pre-training stage."
        )


def draws_of_run(
    args: argparse.Namespace, targets: list[int], num_classes: int, reweight: Any = None
) -> tuple[Tensor, str]:
    """Expected draws m_i of each class in an epoch, and their source in words.

    A re-weighted run saves them in its checkpoint. For other runs they follow from the arguments that select VL-LTR's
    sampler: `weight_sample` draws an image with weight 1/n of its class, with `use_sqrt_freq` 1/sqrt(n), unless
    `repeated_aug` overrides it; otherwise draws are uniform.
    """
    saved = _saved_draws(reweight, num_classes)
    if saved is not None:
        return saved, "those in the checkpoint"
    counts = class_counts_of(targets, num_classes).double()
    if getattr(args, "weight_sample", False) and not getattr(args, "repeated_aug", False):
        if getattr(args, "use_sqrt_freq", False):
            return counts.sqrt(), "an image drawn by 1/sqrt(n), as the config says"
        return (counts > 0).double(), "an image drawn by 1/n, as the config says"
    return counts, "images drawn uniformly, as the config says"


def _saved_draws(reweight: Any, num_classes: int) -> Tensor | None:
    try:
        draws = next(iter(reweight["weightings"].values()))["draws"]
    except (AttributeError, KeyError, StopIteration, TypeError, IndexError):
        return None
    if not isinstance(draws, Tensor) or draws.shape != (num_classes,) or not bool(draws.isfinite().all()):
        return None
    return None if bool((draws < 0).any()) or not bool((draws > 0).any()) else draws.double().cpu()
