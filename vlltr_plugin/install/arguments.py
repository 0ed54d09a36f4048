"""What `vlltr-plugin install`, `uninstall` and `status` are told, and what they print."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vlltr_plugin.install.recipe import load_recipes
from vlltr_plugin.subcommands import Subcommands

if TYPE_CHECKING:
    from vlltr_plugin.install import Report


def add_to(commands: Subcommands) -> None:
    """Adds the commands to the parser."""
    command = commands.add_parser(
        "install", help="insert the plug-in's lines and configs into a checkout of VL-LTR or LIFT"
    )
    _add_checkout(command)
    command.add_argument("--host", choices=["auto", *load_recipes()], default="auto", help="default: find out")
    command.add_argument(
        "--file",
        action="append",
        default=[],
        dest="files",
        metavar="[NAME=]FILE",
        help="a file that takes the place of a usual one: main_dist.py (of main.py), or trainer.py=train.py; "
        "can be given several times. status and uninstall find it by its lines",
    )
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


def _add_checkout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkout", type=Path, metavar="CHECKOUT", help="folder of the checkout of VL-LTR, or of LIFT and its kin"
    )


def _install(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import install

    report = install(options.checkout, host=options.host, files=options.files, dry_run=options.dry_run)
    _print(report, options.dry_run, "installed in", "already installed in")
    if options.dry_run and report.changes:
        files = "".join(f" --file {shlex.quote(file)}" for file in options.files)
        print(f"next: vlltr-plugin install {shlex.quote(str(options.checkout))}{files}")
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
