"""What `vlltr-plugin inspect` is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.report.groups_option import add_groups
from vlltr_plugin.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser("inspect", help="show the weights and radii of a run against class size")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder, with reweight/epoch_*.npz")
    command.add_argument("--epoch", type=int, help="epoch to look at, from 0 (default: the last)")
    command.add_argument(
        "--checkout", type=Path, help="VL-LTR: where data/ has the classes' names (default: around RUN)"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="also write pictures (PNG) into this folder")
    add_groups(command, "default: those of the run, else of its host")
    command.set_defaults(command=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.inspect.command import run_inspect

    run_inspect(options.run, options.epoch, options.checkout, options.out, groups=options.groups)
    return 0
