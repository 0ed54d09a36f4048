"""`evaluate` for timm: train.py builds model and data with the arguments that the checkpoint holds."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.evaluation import (
    EvaluateRequest,
    Progress,
    TrainedModel,
    differences,
    evaluate_in_host,
    evaluation_loader,
    load_checkpoint,
    load_parameters,
    send_logits,
)
from vlltr_plugin.hosts.host import device_or_default
from vlltr_plugin.hosts.timm_train.data import class_names_of, counts_and_draws
from vlltr_plugin.hosts.timm_train.forward import autocast, logits_of
from vlltr_plugin.hosts.timm_train.host import HOST, OF_THE_START, find_checkpoint

ELSEWHERE = {
    **dict.fromkeys(("resume", "initial_checkpoint"), ""),
    **dict.fromkeys(("pretrained", "torchscript", "log_wandb", "jsd_loss"), False),
    **dict.fromkeys(("reweight", "kd_model_name", "torchcompile"), None),
}
"""Training arguments that an evaluation ignores; the parameters come from the checkpoint."""


@contextmanager
def open_trained(request: EvaluateRequest, progress: Progress) -> Iterator[TrainedModel]:
    """Opens a checkpoint in a process that runs train.py."""
    path = find_checkpoint(request).resolve()
    if request.split not in (None, "val"):
        raise ReportError(f"Expected the split to be val but got {request.split!r}: give --val-split in --host-args.")
    saved = load_checkpoint(path, "timm")
    args = saved.get("args") if isinstance(saved, dict) else None
    if not isinstance(args, argparse.Namespace) or not isinstance(saved.get("state_dict"), dict):
        raise ReportError(
            f"{path}: expected a checkpoint of train.py, with `state_dict` and `args`, but it is not one."
        )
    arguments = ["--device", device_or_default(request.device), *request.host_args]
    if request.batch_size is not None:
        arguments += ["--validation-batch-size", str(request.batch_size)]
    with tempfile.TemporaryDirectory(prefix="vlltr-plugin-evaluate-") as folder:
        config = Path(folder, "args.yaml")
        config.write_text(json.dumps(_plain(args) | ELSEWHERE))  # JSON is YAML
        with evaluate_in_host(
            request,
            ["--config", str(config), *arguments],
            f"{__name__}:evaluate",
            path,
            progress,
            host="timm's train.py",
        ) as model:
            yield model


def _plain(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that a YAML file can hold, which excludes the state of a re-weighting."""
    found = {}
    for name, value in vars(args).items():
        with contextlib.suppress(TypeError):
            found[name] = json.loads(json.dumps(value))
    return found


def evaluate(parts: dict[str, Any], *, send: Send, checkpoint: str, limit: int | None, batch_size: int | None) -> None:
    """Runs in the process of train.py when `attach` is called: sends the logits of the validation images."""
    args, model, loader = parts["args"], parts["model"], parts["loader_eval"]
    if loader is None:
        raise ReportError("Expected a validation set but --val-split names none.")
    saved = load_checkpoint(Path(checkpoint), "timm")
    averaged = saved.get("state_dict_ema") is not None and not getattr(saved["args"], "model_ema_force_cpu", False)
    state = saved["state_dict_ema" if averaged else "state_dict"]
    load_parameters(model, state, "The checkpoint does not fit the model that train.py builds")
    classes, there = args.num_classes, vars(saved["args"])
    unlike = {*HOST.irrelevant, *ELSEWHERE, *OF_THE_START}
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
            "classes": classes,
            "names": class_names_of(parts["loader_train"].dataset, classes),
            "epoch": saved.get("epoch"),
            "data_set": args.dataset or Path(getattr(args, "data_dir", None) or args.data or "").name,
            "model": str(args.model) + ", averaged weights (--model-ema)" * averaged,
            "device": str(args.device),
            "batch_size": inner.batch_size,
            "differs": differences(vars(args), there, sorted(there.keys() - unlike)),
            "counts": counts.numpy(),
            "draws": draws.numpy(),
            "draws_from": "by the sampler of the training loader",
        }
    )
    model.eval()
    with autocast(args):
        send_logits(send, "val", loader, partial(logits_of, args, model), total=len(inner.dataset), images=images)
