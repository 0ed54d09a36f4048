"""The command line, `vlltr-plugin`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from vlltr_plugin.cli.commands import add_commands
from vlltr_plugin.cli.experiments import add_experiments
from vlltr_plugin.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Runs one command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a diff may contain characters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    options, unknown = build_parser().parse_known_args(argv)
    if unknown:  # argparse itself would show the usage of `vlltr-plugin`, without the command's options
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `vlltr-plugin ... | head` closes the pipe; the work is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, OSError) as error:
        print(f"vlltr-plugin: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vlltr-plugin: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands; each sets `command` to the function that runs it, `parser` to its own."""
    parser = argparse.ArgumentParser(
        prog="vlltr-plugin",
        description="Class-volume re-weighting for VL-LTR, LIFT, timm's train.py and any PyTorch loop.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.set_defaults(command=lambda options: _version(options, parser), parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_commands(commands)
    add_experiments(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _version(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the version, or the help if no command was given."""
    if not options.version:
        parser.print_help(sys.stderr)
        return 2
    from vlltr_plugin import __version__

    print(f"vlltr-plugin {__version__}")
    return 0
