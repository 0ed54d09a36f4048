"""The command line, `vlltr-plugin`: puts the commands together. Their arguments stand beside their code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import vlltr_plugin.check.arguments
import vlltr_plugin.cifar_lt.arguments
import vlltr_plugin.demo.arguments
import vlltr_plugin.install.arguments
import vlltr_plugin.report.compare.arguments
import vlltr_plugin.report.evaluate.arguments
import vlltr_plugin.report.inspect.arguments
from vlltr_plugin.errors import UserError

COMMANDS = (
    vlltr_plugin.install.arguments,
    vlltr_plugin.check.arguments,
    vlltr_plugin.report.compare.arguments,
    vlltr_plugin.report.inspect.arguments,
    vlltr_plugin.report.evaluate.arguments,
    vlltr_plugin.demo.arguments,
    vlltr_plugin.cifar_lt.arguments,
)
"""In the order of `--help`."""

# The commands import what they need when they run, so that `--help` and wrong arguments answer at once.


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

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
    """Builds the parser of all commands; each sets `command` to the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="vlltr-plugin", description="Class-volume re-weighting for VL-LTR, LIFT and any PyTorch loop."
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.set_defaults(command=lambda options: _version(options, parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _version(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the version, or the help where no command was given."""
    if not options.version:
        parser.print_help(sys.stderr)
        return 2
    from vlltr_plugin import __version__

    print(f"vlltr-plugin {__version__}")
    return 0
