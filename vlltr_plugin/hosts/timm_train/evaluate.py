"""`evaluate` for timm: train.py builds model and data with the arguments that the checkpoint holds."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.evaluation import (
    EvaluateRequest,
    Progress,
    TrainedModel,
    evaluate_in_host,
    evaluation_loader,
    load_checkpoint,
    send_split,
)
from vlltr_plugin.hosts.timm_train.data import class_names_of, counts_and_draws
from vlltr_plugin.hosts.timm_train.host import HOST, OF_THE_START, find_checkpoint
from vlltr_plugin.runs.files import sha256

ELSEWHERE = {
    **dict.fromkeys(("resume", "initial_checkpoint"), ""),
    **dict.fromkeys(("pretrained", "torchscript", "log_wandb", "jsd_loss"), False),
    **dict.fromkeys(("reweight", "kd_model_name", "torchcompile"), None),
    "aug_splits": 0,
}
"""Arguments of a training that an evaluation has no use for; the parameters are the checkpoint's."""


@contextmanager
def open_trained(request: EvaluateRequest, progress: Progress) -> Iterator[TrainedModel]:
    """Opens a checkpoint in a process of train.py."""
    path = find_checkpoint(request).resolve()
    if request.split not in (None, "val"):
        raise ReportError(f"Expected the split to be val but got {request.split!r}: give --val-split in --host-args.")
    saved = load_checkpoint(path, "timm")
    args = saved.get("args") if isinstance(saved, dict) else None
    if not isinstance(args, argparse.Namespace) or not isinstance(saved.get("state_dict"), dict):
        raise ReportError(f"{path}: expected a checkpoint of train.py, with `state_dict` and `args`, but it is none.")
    arguments = [*request.host_args, *(["--device", request.device] if request.device else [])]
    if request.batch_size is not None:
        arguments += ["--validation-batch-size", str(request.batch_size)]
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-evaluate-") as folder:
        config = Path(folder, "args.yaml")
        config.write_text(json.dumps(_plain(args) | ELSEWHERE))  # JSON is YAML
        with evaluate_in_host(
            request,
            ["--config", str(config), *arguments],
            (f"{__name__}:evaluate", {"checkpoint": str(path)}),
            {"checkpoint": {"file": str(path), "sha256": sha256(path)}, "config": {"file": None, "sha256": None}},
            progress,
            host="timm's train.py",
            script="train.py",
        ) as model:
            yield model


def _plain(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that a YAML file can hold: not the state of a re-weighting."""
    found = {}
    for name, value in vars(args).items():
        with contextlib.suppress(TypeError):
            found[name] = json.loads(json.dumps(value))
    return found


def evaluate(parts: dict[str, Any], *, send: Send, checkpoint: str, limit: int | None, batch_size: int | None) -> None:
    """In the process of train.py, where `attach` is called: the logits of the validation images."""
    args, model, loader = parts["args"], parts["model"], parts["loader_eval"]
    if loader is None:
        raise ReportError("Expected a validation set but --val-split names none.")
    saved = load_checkpoint(Path(checkpoint), "timm")
    averaged = saved.get("state_dict_ema") is not None and not getattr(saved["args"], "model_ema_force_cpu", False)
    _put_in(model, saved["state_dict_ema" if averaged else "state_dict"])
    classes = args.num_classes
    try:
        counts, draws = counts_and_draws(parts["loader_train"], classes)
    except ValueError as error:
        raise ReportError(str(error)) from error
    inner = getattr(loader, "loader", loader)  # inside timm's prefetcher
    images = len(inner.dataset)
    if limit is not None:
        options = {name: getattr(inner, name) for name in ("batch_size", "num_workers", "collate_fn")}
        inner = evaluation_loader(inner.dataset, limit, **options)
        if hasattr(loader, "loader"):
            loader.loader = inner
        else:
            loader = inner
    send(
        {
            "split": "val",
            "splits": ["val"],
            "classes": classes,
            "outputs": (),
            "first_share": 0.0,
            "names": class_names_of(parts["loader_train"].dataset, classes),
            "epoch": saved.get("epoch"),
            "data_set": args.dataset or Path(getattr(args, "data_dir", None) or args.data or "").name,
            "model": str(args.model) + ", averaged weights (--model-ema)" * averaged,
            "device": str(args.device),
            "batch_size": inner.batch_size,
            "differs": _differences(args, saved["args"]),
            "counts": counts.numpy(),
            "draws": draws.numpy(),
            "draws_from": "by the sampler of the training loader",
        }
    )
    send_batch = send_split(send, "val", len(inner.dataset))
    dtype = getattr(torch, getattr(args, "amp_dtype", "float16"))
    model.eval()
    with torch.inference_mode(), torch.autocast(torch.device(args.device).type, dtype, enabled=args.amp):
        for inputs, labels in loader:
            output = model(inputs.to(args.device))
            send_batch([output[0] if isinstance(output, (tuple, list)) else output], labels)
    send({"split": "val", "images": images})


def _differences(here: argparse.Namespace, there: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Where the arguments differ from those of the training; values by `repr`."""
    return {
        name: {"here": repr(getattr(here, name)), "training": repr(value)}
        for name, value in sorted(vars(there).items())
        if name in vars(here)
        and name not in {*HOST.irrelevant, *ELSEWHERE, *OF_THE_START}
        and getattr(here, name) != value
    }


def _put_in(model: nn.Module, state: dict[str, Any]) -> None:
    """Loads the parameters; ReportError if they do not fit."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ReportError(f"The checkpoint does not fit the model that train.py builds: {reason}") from error
