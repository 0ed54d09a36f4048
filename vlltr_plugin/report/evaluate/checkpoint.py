"""`vlltr-plugin evaluate RUN`: evaluates a checkpoint with predictions made by the host's code."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich import progress as bars
from rich.console import Console

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import host_of_checkout
from vlltr_plugin.hosts.evaluation import EvaluateRequest, Progress
from vlltr_plugin.hosts.host import Host, split_host_args
from vlltr_plugin.report.accuracy import require_for_evaluation
from vlltr_plugin.report.evaluate.evaluation import Evaluation, Prior, Sweep, make_evaluation
from vlltr_plugin.report.evaluate.files import folder_for, show_and_write
from vlltr_plugin.report.tables import plain_console
from vlltr_plugin.report.tradeoff.curve import DEFAULT_TAUS, FAR_TAUS, log_prior
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector


def run_evaluate(options: argparse.Namespace, console: Console | None = None) -> list[Path]:
    """Evaluates the checkpoint or the logits that the command line names.

    Raises:
        ReportError: for unusable input, or when the host's code fails; nothing is written then.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: a file cannot be read or written.
    """
    if options.checkpoint is None:
        raise ReportError("Expected a run's folder or its checkpoint, or --logits FILE.")
    host = host_of_checkout(options.checkout)
    names = ("checkpoint", "config", "checkout", "split", "device", "batch_size", "limit")
    given = {name: getattr(options, name) for name in names}
    request = EvaluateRequest(**given, host_args=tuple(split_host_args(options.host_args)))
    checkpoint = host.find_checkpoint(request)
    if checkpoint.suffix == ".npz":
        raise ReportError(f"Expected a checkpoint but {checkpoint} is an .npz: of logits, give it as --logits.")
    out = folder_for(options.out, checkpoint.parent / "evaluation")
    sweep = Sweep.from_options(options, host.convention)
    columns = "{task.description}", bars.BarColumn(), bars.MofNCompleteColumn(), "images"
    times = bars.TimeElapsedColumn(), bars.TimeRemainingColumn()
    # On stderr, since stdout is redirected while the host's code runs.
    with bars.Progress(*columns, *times, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluating", total=None)
        evaluation = run_evaluation(
            host, request, sweep, lambda done, total: bar.update(task, completed=done, total=total, refresh=True)
        )
    return show_and_write(evaluation, out, console or plain_console())


def run_evaluation(
    host: Host, request: EvaluateRequest, sweep: Sweep, progress: Progress = lambda done, total: None
) -> Evaluation:
    """Evaluates; writes nothing. Raises as `run_evaluate`."""
    if request.split not in (None, "val", "test"):
        raise ReportError(f"Expected the split to be val or test but got {request.split!r}.")
    for name in ("batch_size", "limit"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise ReportError(f"Expected {name.replace('_', '-')} to be 1 or more but got {value}.")
    if host.open_trained is None:
        raise ReportError(f"Expected a checkout whose models can be built, but {host.title}'s cannot: give --logits.")
    require_for_evaluation()  # fail before the work, not after it
    taus = FAR_TAUS if sweep.taus == DEFAULT_TAUS else sweep.taus  # so that one pass over the images is enough
    with host.open_trained(request, progress) as model:
        prior = Prior.choose(sweep.prior, model.train_counts, model.draws, model.draws_from)
        of_prior = model.classes, taus, log_prior(prior.values), model.outputs, model.first_share
        images, validation, why_here = PredictionCollector(*of_prior), None, ""
        number = model.predict(images, model.split)
        if sweep.choose_tau != "here" and model.split != "val":
            try:
                model.predict(collector := PredictionCollector(*of_prior), "val")
                validation = collector
            except (ReportError, OSError) as error:
                if sweep.choose_tau == "val":
                    raise
                why_here = str(error)
    facts = {
        "host": host.name,
        **model.facts,
        "settings": model.facts["settings"] | {"visual_share": model.first_share, "torch": str(torch.__version__)},
        "split": model.split,
        "split_images": number,
        "limit": request.limit,
    }
    return make_evaluation(
        facts, images, validation, model.train_counts, model.names, sweep, prior, why_here, model.host_log
    )
