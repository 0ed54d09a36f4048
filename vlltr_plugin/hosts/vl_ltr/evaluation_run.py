"""Evaluating a checkpoint in a checkout: the host's code makes the predictions, ours the numbers."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checkout_modules import checkout_modules, said_by_host
from vlltr_plugin.hosts.vl_ltr.class_names import class_names
from vlltr_plugin.hosts.vl_ltr.command_line import checkpoint_path, config_path, config_trained_with, device_or_default
from vlltr_plugin.hosts.vl_ltr.evaluated_draws import draws_of_run
from vlltr_plugin.hosts.vl_ltr.trained_model import HostRun, build, differences, host_args, read_checkpoint
from vlltr_plugin.report.evaluate.calibration import require_for_evaluation
from vlltr_plugin.report.evaluate.evaluation import FORMAT, evaluate_predictions
from vlltr_plugin.report.evaluate.files import sha256
from vlltr_plugin.report.evaluate.outcome import Outcome
from vlltr_plugin.report.evaluate.predictions import PredictionCollector
from vlltr_plugin.report.evaluate.trade_off import Sweep, chosen_prior, told
from vlltr_plugin.report.tradeoff.curve import TradeOff, curve_of
from vlltr_plugin.report.tradeoff.sweep import SweepCollector

SPLITS = ("val", "test")
Ints = NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        checkpoint: the file, or the run's folder.
        config: the host's config that it was trained with; None takes the one that the checkpoint names.
        checkout: the host's folder.
        split: `"val"` or `"test"`; None takes the one that the config makes the host report (`test=True` or not).
        device: None takes CUDA where there is some.
        batch_size: None takes the host's for evaluation, 1.5 times that of training.
        limit: evaluate this many images, evenly spaced over the split.
        host_args: further arguments of the host's command line.
        sweep: of the trade-off curve.
    """

    checkpoint: Path
    config: Path | None = None
    checkout: Path = Path()
    split: str | None = None
    device: str | None = None
    batch_size: int | None = None
    limit: int | None = None
    host_args: tuple[str, ...] = ()
    sweep: Sweep = field(default_factory=Sweep)


def run_evaluation(request: Request, progress: Progress = lambda done, total: None) -> Outcome:
    """Evaluates; writes nothing.

    Args:
        request: what and how.
        progress: called with the images done and in all, after each batch.

    Returns:
        The evaluation.

    Raises:
        ReportError: for unusable input, or when the host's code fails.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: when a file is missing.
    """
    _check(request)
    named = checkpoint_path(request.checkpoint)
    given = None if request.config is None else config_path(request.config, request.checkout)
    require_for_evaluation()  # before the work, not after it
    checkpoint = read_checkpoint(named)
    path, checkout = named.resolve(), request.checkout.resolve()
    config = given or config_trained_with(checkpoint.args, request.checkout)
    with checkout_modules(checkout) as modules:
        device = device_or_default(request.device)
        args = host_args(modules, config, device, list(request.host_args))
        split = request.split or ("test" if getattr(args, "test", False) else "val")
        run = build(modules, args, split, checkpoint)
        data_set = str(getattr(args, "data_set", ""))
        train_counts = np.bincount(np.asarray(run.train_labels, dtype=np.int64), minlength=run.classes)
        draws, known_from = draws_of_run(args, run.train_labels, run.classes, checkpoint.reweight)
        prior = chosen_prior(request.sweep.prior, train_counts, draws.numpy(), known_from)
        batch_size = request.batch_size or int(1.5 * args.batch_size)

        def predict(run: HostRun) -> tuple[SweepCollector, int]:
            share = 0.7 if "INAT" in data_set else 0.2
            collector = SweepCollector(run.classes, share, request.sweep.taus, prior.log())
            with said_by_host("evaluating"):
                return collector, _predict(run, collector, batch_size, request.limit, progress)

        collector, images = predict(run)
        chooser, why_here = _chooser(request.sweep.choose_tau, split, lambda: predict(_validation(modules, run))[0])
        names = class_names(checkout, run.classes, str(getattr(args, "desc_path", "")))
    labels, by_rule = collector.labels(), collector.predictions()

    def curve(one: SweepCollector) -> TradeOff:
        return curve_of(one.labels(), one.adjusted(), train_counts, prior.name, request.sweep.groups)

    trade_off, chosen_on = curve(collector), None if chooser is None else curve(chooser)
    evaluation = {
        "format": FORMAT,
        "plugin_version": vlltr_plugin_version(),
        "checkpoint": {"file": str(named), "sha256": sha256(path), "epoch": checkpoint.epoch},
        "config": {"file": str(request.config or config), "sha256": sha256(config)},
        "data_set": data_set,
        "split": split,
        "labels_sha256": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
        "images": len(labels),
        "split_images": images,
        "limit": request.limit,
        "classes": run.classes,
        "not_finite": collector.not_finite,
        "settings": {
            "model": str(args.model),
            "two_branch": "mixture" in by_rule,
            "visual_share": collector.visual_share,
            "device": device,
            "batch_size": batch_size,
            "host_args": list(request.host_args),
            "torch": str(torch.__version__),
        },
        "differs_from_training": differences(args, checkpoint),
    } | evaluate_predictions(labels, by_rule, train_counts, names)
    evaluation["trade_off"] = told(trade_off, prior, split, chosen_on, why_here)
    return Outcome(evaluation, labels, by_rule, train_counts, names, trade_off)


def _chooser(
    wanted: str | None, split: str, predict: Callable[[], SweepCollector]
) -> tuple[SweepCollector | None, str]:
    """Predictions on the validation split, to choose tau on; None, and why, where the images evaluated must do."""
    if wanted == "here" or split == "val":
        return None, ""
    try:
        return predict(), ""
    except (ReportError, OSError) as error:
        if wanted == "val":
            raise
        return None, str(error)


def _validation(modules: dict[str, ModuleType], run: HostRun) -> HostRun:
    with said_by_host("building the validation split"):
        dataset, _ = modules["datasets"].build_dataset(split="val", args=run.args)
    if len(dataset) == 0:
        raise ReportError("Expected images in the validation split but there are none.")
    return replace(run, dataset=dataset)


def vlltr_plugin_version() -> str:
    """Of this package."""
    from vlltr_plugin import __version__

    return __version__


@torch.no_grad()
def _predict(
    run: HostRun, collector: PredictionCollector, batch_size: int, limit: int | None, progress: Progress
) -> int:
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


def _check(request: Request) -> None:
    if request.split not in (None, *SPLITS):
        raise ReportError(f"Expected the split to be val or test but got {request.split!r}.")
    for name in ("batch_size", "limit"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise ReportError(f"Expected {name.replace('_', '-')} to be 1 or more but got {value}.")
