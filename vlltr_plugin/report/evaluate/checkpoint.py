"""`vlltr-plugin evaluate RUN`: evaluates a checkpoint. The host's code makes the predictions, ours the numbers."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch
from rich import progress as bars
from rich.console import Console

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import host_of_checkout
from vlltr_plugin.hosts.evaluation import EvaluateRequest, Progress, TrainedModel
from vlltr_plugin.hosts.host import Host, split_host_args
from vlltr_plugin.report.accuracy import overall_rule, require_for_evaluation
from vlltr_plugin.report.evaluate.evaluation import (
    FORMAT,
    Prior,
    Sweep,
    chosen_prior,
    evaluate_predictions,
    sweep_of,
    told,
)
from vlltr_plugin.report.evaluate.files import Outcome, folder_for, show_and_write
from vlltr_plugin.report.tradeoff.curve import DEFAULT_TAUS, FAR_TAUS, TradeOffError, curve_of, until_it_falls
from vlltr_plugin.report.tradeoff.sweep import SweepCollector

SPLITS = ("val", "test")


def run_evaluation(
    host: Host, request: EvaluateRequest, sweep: Sweep, progress: Progress = lambda done, total: None
) -> Outcome:
    """Evaluates; writes nothing.

    Raises:
        ReportError: for unusable input, or when the host's code fails.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: when a file is missing.
    """
    from vlltr_plugin import __version__

    _check(request)
    if host.open_trained is None:
        raise ReportError(f"Expected a checkout whose models can be built, but {host.title}'s cannot: give --logits.")
    require_for_evaluation()  # before the work, not after it
    with host.open_trained(request, progress) as model:
        try:
            prior = chosen_prior(sweep.prior, model.train_counts, model.draws, model.draws_from)
        except TradeOffError as error:
            raise ReportError(str(error)) from error
        collector, images = _predict(model, sweep, prior, model.split)
        chooser, why_here = _chooser(model, sweep, prior)
    labels, by_rule = collector.labels(), collector.predictions()

    both = [collector, *([] if chooser is None else [chooser])]
    taus = until_it_falls(sweep.taus, [one.right()[overall_rule(by_rule)] for one in both])
    curves = [curve_of(one, model.train_counts, prior.name, sweep.groups, taus) for one in both]
    more = {"visual_share": collector.visual_share, "torch": str(torch.__version__)}
    evaluation = {
        "format": FORMAT,
        "plugin_version": __version__,
        "host": host.name,
        **model.facts,
        "settings": model.facts["settings"] | more,
        "split": model.split,
        "labels_sha256": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
        "images": len(labels),
        "split_images": images,
        "limit": request.limit,
        "classes": model.classes,
        "not_finite": collector.not_finite,
    } | evaluate_predictions(labels, by_rule, model.train_counts, model.names, sweep.groups)
    if model.host_log is not None:
        evaluation["host_log"] = model.host_log(labels, by_rule[overall_rule(by_rule)].top1)
    evaluation["trade_off"] = told(curves[0], prior, model.split, curves[1] if chooser else None, why_here)
    return Outcome(evaluation, labels, by_rule, model.train_counts, model.names, curves[0])


def _predict(model: TrainedModel, sweep: Sweep, prior: Prior, split: str) -> tuple[SweepCollector, int]:
    taus = FAR_TAUS if sweep.taus == DEFAULT_TAUS else sweep.taus  # one pass over the images must do
    collector = SweepCollector(model.classes, model.visual_share, taus, prior.log())
    return collector, model.predict(collector, split)


def _chooser(model: TrainedModel, sweep: Sweep, prior: Prior) -> tuple[SweepCollector | None, str]:
    """Predictions on the validation split, to choose tau on; None, and why, where the images evaluated must do."""
    if sweep.choose_tau == "here" or model.split == "val":
        return None, ""
    try:
        return _predict(model, sweep, prior, "val")[0], ""
    except (ReportError, OSError) as error:
        if sweep.choose_tau == "val":
            raise
        return None, str(error)


def _check(request: EvaluateRequest) -> None:
    if request.split not in (None, *SPLITS):
        raise ReportError(f"Expected the split to be val or test but got {request.split!r}.")
    for name in ("batch_size", "limit"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise ReportError(f"Expected {name.replace('_', '-')} to be 1 or more but got {value}.")


FOLDER = "evaluation"


def run_evaluate(options: argparse.Namespace, console: Console | None = None) -> list[Path]:
    """Evaluates what the command line asks for.

    Raises:
        ReportError: for unusable input, or when the host's code fails; nothing is written then.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: a file cannot be read or written.
    """
    console = console or Console()
    if options.checkpoint is None:
        raise ReportError("Expected a run's folder or its checkpoint, or --logits FILE.")
    host = host_of_checkout(options.checkout)
    request = EvaluateRequest(
        checkpoint=options.checkpoint,
        config=options.config,
        checkout=options.checkout,
        split=options.split,
        device=options.device,
        batch_size=options.batch_size,
        limit=options.limit,
        host_args=tuple(split_host_args(options.host_args)),
    )
    checkpoint = host.find_checkpoint(request)
    if checkpoint.suffix == ".npz":
        raise ReportError(f"Expected a checkpoint but {checkpoint} is an .npz: of logits, give it as --logits.")
    out = folder_for(options.out, checkpoint.parent / FOLDER)
    return show_and_write(_watched(host, request, sweep_of(options, host.convention)), out, console)


def _watched(host: Host, request: EvaluateRequest, sweep: Sweep) -> Outcome:
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("images"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    # On stderr: the host's own prints are kept back by way of stdout while this one runs.
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("evaluating", total=None)
        return run_evaluation(
            host, request, sweep, lambda done, total: progress.update(task, completed=done, total=total, refresh=True)
        )
