"""`install`, `uninstall`, `status`, `check`: what is done to a checkout, or looked at in it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vlltr_plugin.cli.subcommands import Subcommands
from vlltr_plugin.install.recipe import load_recipes

if TYPE_CHECKING:
    from vlltr_plugin.install import Report


def add_to(commands: Subcommands) -> None:
    """Adds the commands to the parser."""
    command = commands.add_parser(
        "install", help="insert the plug-in's lines and configs into a checkout of VL-LTR or LIFT"
    )
    _add_checkout(command)
    command.add_argument("--host", choices=["auto", *load_recipes()], default="auto", help="default: find out")
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")
    command.set_defaults(command=_install)

    command = commands.add_parser("uninstall", help="take everything out again, byte for byte")
    _add_checkout(command)
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")
    command.set_defaults(command=_uninstall)

    command = commands.add_parser(
        "status",
        help="say what is installed in a checkout, and whether it still fits",
        description="Exit code 0: installed and fits; 1: not installed, or something does not fit.",
    )
    _add_checkout(command)
    command.set_defaults(command=_status)

    command = commands.add_parser(
        "check",
        help="look at everything that a run needs, before it starts; trains and writes nothing",
        description="Imports and runs the checkout's code. Exit code 0: all fine; 1: something is amiss.",
    )
    command.add_argument(
        "config", type=Path, nargs="?", metavar="CONFIG", help="the config of the run; none for LIFT, see --host-args"
    )
    command.add_argument("--checkout", type=Path, default=Path(), help="the checkout (default: the current folder)")
    command.add_argument("--device", help="default: cuda if there is one, else cpu")
    command.add_argument(
        "--host-args",
        default="",
        metavar="ARGS",
        help='arguments that main.py will have on its command line, quoted: "--input-size 224 --seed 1"; for LIFT '
        "all of them",
    )
    command.add_argument("--json", action="store_true", help="print the lines as JSON")
    command.set_defaults(command=_check)


def _add_checkout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkout", type=Path, metavar="CHECKOUT", help="folder of the checkout of VL-LTR, or of LIFT and its kin"
    )


def _install(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import install

    report = install(options.checkout, host=options.host, dry_run=options.dry_run)
    _print(report, options.dry_run, "installed in", "already installed in")
    if options.dry_run and report.changes:
        print(f"next: vlltr-plugin install {shlex.quote(str(options.checkout))}")
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import uninstall

    report = uninstall(options.checkout, dry_run=options.dry_run)
    _print(report, options.dry_run, "uninstalled from", "nothing to uninstall in")
    return 0


def _print(report: Report, dry_run: bool, done: str, idle: str) -> None:
    """The diff of the host's files, a line on the copied configs, the notes, and one line on the outcome."""
    for text in (report.host_diff, report.copied, *report.notes):
        if text:
            print(text)
    count = len(report.changes)
    files = f"{count} file{'s' * (count != 1)}"
    if not count:
        print(f"{idle} {report.checkout}")
    elif dry_run:
        print(f"dry run: {files} would change in {report.checkout}; nothing was written")
    else:
        after = f"; next: {report.next_command}" if report.next_command else ""
        print(f"{done} {report.checkout}: {files} changed{after}")


def _status(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import status

    found = status(options.checkout)
    print(found)
    return 0 if found.fits else 1


def _check(options: argparse.Namespace) -> int:
    from vlltr_plugin.check.command import run_check

    return 0 if run_check(options) else 1
