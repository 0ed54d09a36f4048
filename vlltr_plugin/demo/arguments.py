"""What `vlltr-plugin demo` is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.errors import UserError
from vlltr_plugin.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser(
        "demo", help="train baseline, inverse frequency and class volume on handwritten digits, and compare"
    )
    command.add_argument(
        "--out", type=Path, default=Path("vlltr-demo"), help="new or empty folder for the runs (default: vlltr-demo)"
    )
    command.add_argument("--epochs", type=int, help="of each run, 1 or more (default: 30)")
    command.add_argument("--keep", action="store_true", help="of older versions: the folder stays in any case")
    command.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from vlltr_plugin.demo import run_demo

    given = {} if options.epochs is None else {"epochs": options.epochs}
    try:
        run_demo(out=options.out, keep=options.keep, **given)
    except (ValueError, RuntimeError) as error:
        raise UserError(str(error)) from error
    return 0
