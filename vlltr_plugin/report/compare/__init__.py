"""`vlltr-plugin compare`: compares runs with a baseline, in tables, files and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import HOSTS, get_host
from vlltr_plugin.hosts.host import Reference
from vlltr_plugin.report.compare.comparison import Comparison, compare
from vlltr_plugin.report.compare.files import write_report
from vlltr_plugin.report.compare.runs import Method, load, load_all, load_run
from vlltr_plugin.report.compare.settings import compare_settings, reweight_of
from vlltr_plugin.report.compare.tables import notes_of, tables_of
from vlltr_plugin.report.tables import plain_console

__all__ = [
    "Comparison",
    "Method",
    "compare",
    "compare_settings",
    "find_reference",
    "load",
    "load_all",
    "load_run",
    "plain_console",
    "print_comparison",
    "print_files",
    "reweight_of",
    "run_compare",
    "write_report",
]


def run_compare(
    runs: Sequence[str],
    reference: str | None = None,
    out: Path | None = None,
    console: Console | None = None,
    groups: Convention | None = None,
) -> Comparison:
    """Compares runs with the first one, writes a report if `out` is given, and prints the tables.

    ReportError if an input cannot be used; nothing is written then.
    """
    published = None if reference is None else find_reference(reference)
    comparison = compare(load_all(runs, groups), published)
    paths = (
        [] if out is None else write_report(comparison, out)
    )  # files first: the reader of the tables may close the pipe
    console = console or plain_console()
    print_comparison(comparison, console)
    if paths:
        print_files(paths, console)
    return comparison


def find_reference(name: str) -> Reference:
    """The published results with this name, of any host; ReportError if there are none."""
    known = {key: one for host in HOSTS for key, one in get_host(host).references().items()}
    if name not in known:
        names = dict.fromkeys(one.name for one in known.values())  # without aliases
        raise ReportError(f"Expected a reference among {', '.join(names)}, but got {name}")
    return known[name]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints tables, verdict, notes and warnings."""
    for table in tables_of(comparison):
        console.print(table.rich())
    style = {True: "green", False: "bold red", None: "yellow"}[comparison.verdict.comparable]
    lines = [f"[{style}]{escape(str(comparison.verdict))}[/]", *map(escape, notes_of(comparison))]
    for line in [*lines, *(f"[yellow]warning: {escape(warning)}[/]" for warning in comparison.warnings)]:
        console.print(line, soft_wrap=True, highlight=False)


def print_files(paths: Sequence[Path], console: Console) -> None:
    """Prints the names of the report's files, and what is missing for pictures."""
    from vlltr_plugin.report.pictures import MissingExtraError, require_matplotlib

    for path in paths:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    try:
        require_matplotlib()
    except MissingExtraError as error:
        console.print(f"[yellow]No pictures: {escape(str(error))}[/]", soft_wrap=True, highlight=False)
