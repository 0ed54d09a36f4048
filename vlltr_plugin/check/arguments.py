"""What `vlltr-plugin check` is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the command to the parser."""
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


def _check(options: argparse.Namespace) -> int:
    from vlltr_plugin.check.command import run_check

    return 0 if run_check(options) else 1
