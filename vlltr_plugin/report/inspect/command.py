"""`vlltr-plugin inspect`: reads a run's arrays, prints what they say, draws them."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.hosts import host_of_run
from vlltr_plugin.report.inspect.inspection import inspect_run
from vlltr_plugin.report.inspect.pictures import write_pictures
from vlltr_plugin.report.inspect.tables import print_inspection
from vlltr_plugin.report.labels import run_name
from vlltr_plugin.report.pictures import require_matplotlib
from vlltr_plugin.runs.epoch_arrays import epoch_files


def run_inspect(
    run: Path,
    epoch: int | None = None,
    checkout: Path | None = None,
    out: Path | None = None,
    console: Console | None = None,
    groups: Convention | None = None,
) -> list[Path]:
    """Prints tables and findings, and writes the pictures where a folder is named.

    Raises:
        ReportError: for unusable input; nothing is written then.
        MissingExtraError: pictures are wanted, but matplotlib is not installed.
        OSError: a file cannot be read, or not written: the tables are printed all the same then.
    """
    console = console or Console()
    epoch_files(run)  # a run that is not there is said first
    if out is not None:
        require_matplotlib()
    inspections = inspect_run(run, epoch, groups)
    names = host_of_run(run).class_names(checkout or run, len(inspections[0].counts))
    pictures: list[Path] = []
    try:
        if out is not None:  # first: who reads the tables may stop reading
            for inspection in inspections:
                suffix = f"_{inspection.logits}" if len(inspections) > 1 else ""
                pictures += write_pictures(inspection, names, out, suffix, run_name(run.resolve()))
    finally:
        for inspection in inspections:
            print_inspection(inspection, names, console)
    for path in pictures:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    if out is None:
        console.print("--out DIR draws this.")
    return pictures
