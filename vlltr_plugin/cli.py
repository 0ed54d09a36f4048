"""The command line, `vlltr-plugin`: what each command is given and what it prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

# The commands import what they need themselves, so that `--help` and wrong arguments answer at once.


class UserError(Exception):
    """Something that the user can put right; its text is printed instead of a traceback."""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; default: the process's own.

    Returns:
        The exit code: 0 for success, 1 where a command has looked and found something amiss, 2 for a user error.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a diff may hold letters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `vlltr-plugin ... | head`: the work is done, nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, OSError) as error:
        print(f"vlltr-plugin: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vlltr-plugin: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; each sets `command` to the function that runs it."""
    parser = argparse.ArgumentParser(prog="vlltr-plugin", description="Class-volume re-weighting for VL-LTR.")
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.set_defaults(command=lambda options: _version(options, parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = commands.add_parser("install", help="insert the plug-in's lines and configs into a VL-LTR checkout")
    _add_checkout(command)
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

    command = commands.add_parser("demo", help="train baseline and class volume on handwritten digits, and compare")
    command.add_argument("--out", type=Path, help="new or empty folder for the runs, which stays (default: temporary)")
    command.add_argument("--epochs", type=int, help="epochs of each run")
    command.add_argument("--keep", action="store_true", help="leave the temporary folder in place")
    command.set_defaults(command=_demo)
    return parser


def _add_checkout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="folder of the VL-LTR checkout")


def _version(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print the version, or the help where no command was given."""
    if not options.version:
        parser.print_help(sys.stderr)
        return 2
    from vlltr_plugin import __version__

    print(f"vlltr-plugin {__version__}")
    return 0


def _install(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import install

    return _operate(options, install, "installed in", "already installed in")


def _uninstall(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import uninstall

    return _operate(options, uninstall, "uninstalled from", "nothing to uninstall in")


def _operate(options: argparse.Namespace, operation: Callable[..., object], done: str, idle: str) -> int:
    """Install or uninstall, and print the diff, the notes and one line on the outcome."""
    from vlltr_plugin.install import InstallError, Report

    try:
        report = operation(options.checkout, dry_run=options.dry_run)
    except InstallError as error:
        raise UserError(str(error)) from error
    assert isinstance(report, Report)
    if report.diff:
        print(report.diff)
    for note in report.notes:
        print(note)
    count = len(report.changes)
    files = f"{count} file{'s' * (count != 1)}"
    if not count:
        print(f"{idle} {report.checkout}")
    elif options.dry_run:
        print(f"dry run: {files} would change in {report.checkout}; nothing was written")
    else:
        print(f"{done} {report.checkout}: {files} changed")
    return 0


def _status(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import InstallError, status

    try:
        found = status(options.checkout)
    except InstallError as error:
        raise UserError(str(error)) from error
    print(found)
    return 0 if found.fits else 1


def _demo(options: argparse.Namespace) -> int:
    from vlltr_plugin.demo import run_demo

    given = {} if options.epochs is None else {"epochs": options.epochs}
    try:
        run_demo(out=options.out, keep=options.keep, **given)
    except (ValueError, ModuleNotFoundError, RuntimeError) as error:
        raise UserError(str(error)) from error
    return 0
