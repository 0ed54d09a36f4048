"""`vlltr-plugin evaluate`: runs an evaluation under a progress bar, prints it, writes its files."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vlltr_plugin.host.command_line import split_host_args
from vlltr_plugin.host.evaluation_run import Outcome, Request, run_evaluation
from vlltr_plugin.report.errors import ReportError
from vlltr_plugin.report.evaluate.files import write_evaluation
from vlltr_plugin.report.evaluate.tables import print_evaluation

FOLDER = "evaluation"


def run_evaluate(options: argparse.Namespace, console: Console | None = None) -> list[Path]:
    """Evaluates what the command line asks for.

    Args:
        options: `checkpoint`, `config`, `checkout`, `split`, `device`, `batch_size`, `limit`, `out`, `host_args`.
        console: where to print.

    Returns:
        The files written.

    Raises:
        ReportError: for unusable input, or when the host's code fails; nothing is written then.
        MissingExtraError: matplotlib or torchmetrics is not installed.
        OSError: a file cannot be read or written.
    """
    console = console or Console()
    out: Path = (options.out or options.checkpoint.parent / FOLDER).absolute()
    if out.exists() and not out.is_dir():
        raise ReportError(f"Expected --out to name a folder but {out} is a file.")
    request = Request(
        checkpoint=options.checkpoint,
        config=options.config,
        checkout=options.checkout,
        split=options.split,
        device=options.device,
        batch_size=options.batch_size,
        limit=options.limit,
        host_args=tuple(split_host_args(options.host_args)),
    )
    outcome = _watched(request)
    print_evaluation(outcome.evaluation, console)
    files = write_evaluation(
        outcome.evaluation, outcome.labels, outcome.by_rule, outcome.train_counts, outcome.names, out
    )
    for path in files:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    return files


def _watched(request: Request) -> Outcome:
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
            request, lambda done, total: progress.update(task, completed=done, total=total, refresh=True)
        )
