"""`vlltr-plugin evaluate`: runs an evaluation under a progress bar, prints it, writes its files."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import host_of_checkout
from vlltr_plugin.hosts.evaluation import EvaluateRequest
from vlltr_plugin.hosts.host import Host, split_host_args
from vlltr_plugin.report.evaluate.checkpoint_run import run_evaluation
from vlltr_plugin.report.evaluate.outcome import Outcome, folder_for, show_and_write
from vlltr_plugin.report.evaluate.trade_off import Sweep, sweep_of

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
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # On stderr: the host's own prints are kept back by way of stdout while this one runs.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("evaluating", total=None)
        return run_evaluation(
            host, request, sweep, lambda done, total: progress.update(task, completed=done, total=total, refresh=True)
        )
