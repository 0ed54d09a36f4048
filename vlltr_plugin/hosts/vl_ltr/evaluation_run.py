"""A checkpoint of VL-LTR opened in its checkout: the host's code makes the predictions of an evaluation."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.evaluation import Collector, EvaluateRequest, Progress, TrainedModel
from vlltr_plugin.hosts.host import device_or_default
from vlltr_plugin.hosts.vl_ltr.branches import IMAGE_TEXT, VISUAL
from vlltr_plugin.hosts.vl_ltr.checkout_modules import checkout_modules, said_by_host
from vlltr_plugin.hosts.vl_ltr.class_names import class_names
from vlltr_plugin.hosts.vl_ltr.command_line import checkpoint_path, config_path, config_trained_with
from vlltr_plugin.hosts.vl_ltr.evaluated_draws import draws_of_run
from vlltr_plugin.hosts.vl_ltr.trained_model import HostRun, build, differences, host_args, read_checkpoint
from vlltr_plugin.runs.files import sha256


@contextmanager
def open_trained(request: EvaluateRequest, progress: Progress) -> Iterator[TrainedModel]:
    """Runs in the checkout while it is open; writes nothing.

    Raises:
        ReportError: for unusable input, or when the host's code fails.
        OSError: when a file is missing.
    """
    named = checkpoint_path(request.checkpoint)
    given = None if request.config is None else config_path(request.config, request.checkout)
    checkpoint = read_checkpoint(named)
    path, checkout = named.resolve(), request.checkout.resolve()
    config = given or config_trained_with(checkpoint.args, request.checkout)
    with checkout_modules(checkout) as modules:
        device = device_or_default(request.device)
        args = host_args(modules, config, device, list(request.host_args))
        split = request.split or ("test" if getattr(args, "test", False) else "val")
        run = build(modules, args, split, checkpoint)
        data_set = str(getattr(args, "data_set", ""))
        draws, draws_from = draws_of_run(args, run.train_labels, run.classes, checkpoint.reweight)
        batch_size = request.batch_size or int(1.5 * args.batch_size)

        def predict(collector: Collector, of_split: str) -> int:
            other = run if of_split == split else _another_split(modules, run, of_split)
            with said_by_host("evaluating"):
                return _predict(other, collector, batch_size, request.limit, progress)

        yield TrainedModel(
            split=split,
            classes=run.classes,
            train_counts=np.bincount(np.asarray(run.train_labels, dtype=np.int64), minlength=run.classes),
            draws=draws.numpy(),
            draws_from=draws_from,
            outputs=(VISUAL, IMAGE_TEXT) if getattr(args, "two_branch", False) else (),
            first_share=0.7 if "INAT" in data_set else 0.2,
            names=class_names(checkout, run.classes, str(getattr(args, "desc_path", ""))),
            facts={
                "checkpoint": {"file": str(named), "sha256": sha256(path), "epoch": checkpoint.epoch},
                "config": {"file": str(request.config or config), "sha256": sha256(config)},
                "data_set": data_set,
                "settings": {
                    "model": str(args.model),
                    "two_branch": bool(getattr(args, "two_branch", False)),
                    "device": device,
                    "batch_size": batch_size,
                    "host_args": list(request.host_args),
                },
                "differs_from_training": differences(args, checkpoint),
            },
            predict=predict,
        )


def _another_split(modules: dict[str, ModuleType], run: HostRun, split: str) -> HostRun:
    with said_by_host("building the validation split"):
        dataset, _ = modules["datasets"].build_dataset(split=split, args=run.args)
    if len(dataset) == 0:
        raise ReportError("Expected images in the validation split but there are none.")
    return replace(run, dataset=dataset)


@torch.no_grad()
def _predict(run: HostRun, collector: Collector, batch_size: int, limit: int | None, progress: Progress) -> int:
    """Feeds the split to the model; returns the number of images in the split."""
    whole = len(run.dataset)
    number = min(limit or whole, whole)
    indices = [position * whole // number for position in range(number)]
    device = torch.device(run.args.device)
    loader = DataLoader(
        Subset(run.dataset, indices),
        batch_size=batch_size,
        num_workers=min(getattr(run.args, "num_workers", 0), os.cpu_count() or 1),
        pin_memory=device.type == "cuda",
    )
    done = 0
    progress(done, number)
    for images, labels in loader:
        with torch.autocast(device.type, enabled=device.type == "cuda"):  # as the host evaluates
            outputs = run.model(images.to(device, non_blocking=True))
        two_branch = bool(getattr(run.args, "two_branch", False))
        if isinstance(outputs, torch.Tensor) == two_branch:
            raise ReportError(f"The model's outputs do not agree with two_branch={two_branch} in the config.")
        collector.add(outputs, labels)
        done += len(labels)
        progress(done, number)
    return whole
