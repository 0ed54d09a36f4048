"""What `vlltr-plugin compare` is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser(
        "compare",
        help="compare runs with a baseline, from the logs that VL-LTR writes",
        description="RUN is a run's folder or its log.txt; name=FOLDER,FOLDER,... are the seeds of one method.",
    )
    command.add_argument("baseline", metavar="BASELINE", help="the run that the others are compared with")
    command.add_argument("runs", metavar="RUN", nargs="*", help="without any, --reference is the baseline")
    command.add_argument(
        "--reference",
        metavar="DATA/MODEL",
        help="set published results beside them: imagenet_lt, places_lt or inat2018, with /r50 or /vit16",
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md, report.json, report.csv and pictures"
    )
    command.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.compare.command import run_compare

    run_compare([options.baseline, *options.runs], options.reference, options.out)
    return 0
