"""What `vlltr-plugin compare` is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.report.groups_option import add_groups
from vlltr_plugin.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser(
        "compare",
        help="compare runs with a baseline: of a host, of your own loop, or evaluations",
        description="RUN is a run's folder, its log.txt, or an evaluation's folder; name=FOLDER,FOLDER,... are the "
        "seeds of one method.",
    )
    command.add_argument("baseline", metavar="BASELINE", help="the run that the others are compared with")
    command.add_argument("runs", metavar="RUN", nargs="*", help="without any, --reference is the baseline")
    command.add_argument(
        "--reference",
        metavar="DATA/MODEL",
        help="set published results of VL-LTR beside them: imagenet_lt, places_lt or inat2018, with /r50 or /vit16",
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md, report.json, report.csv and pictures"
    )
    add_groups(command, "of evaluations, whose predictions are grouped anew, and of logs that do not tell theirs")
    command.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.compare.command import run_compare

    run_compare([options.baseline, *options.runs], options.reference, options.out, groups=options.groups)
    return 0
