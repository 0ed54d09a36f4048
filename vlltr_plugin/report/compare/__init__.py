"""Runs beside a baseline: `compare` makes the numbers, `run_compare` loads, writes and prints."""

from vlltr_plugin.report.compare.command import (
    find_reference,
    plain_console,
    print_comparison,
    print_files,
    run_compare,
)
from vlltr_plugin.report.compare.comparison import Comparison, compare
from vlltr_plugin.report.compare.files import write_report
from vlltr_plugin.report.compare.loading import load, load_all, load_run
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.compare.settings import compare_settings, reweight_of

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
