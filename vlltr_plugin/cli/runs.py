"""`compare`, `inspect`, `evaluate`: what runs have left."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.cli.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the commands to the parser."""
    _add_compare(commands)
    _add_inspect(commands)
    _add_evaluate(commands)


def _add_compare(commands: Subcommands) -> None:
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


def _add_inspect(commands: Subcommands) -> None:
    command = commands.add_parser("inspect", help="show the weights and radii of a run against class size")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder, with reweight/epoch_*.npz")
    command.add_argument("--epoch", type=int, help="epoch to look at, from 0 (default: the last)")
    command.add_argument("--checkout", type=Path, help="where data/ has the classes' names (default: around RUN)")
    command.add_argument("--out", type=Path, metavar="DIR", help="also write pictures (PNG) into this folder")
    command.set_defaults(command=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.inspect.command import run_inspect

    run_inspect(options.run, options.epoch, options.checkout, options.out)
    return 0


def _add_evaluate(commands: Subcommands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="evaluate a checkpoint in a checkout, all accuracies from the same predictions",
        description="Imports and runs the checkout's code; never what a checkpoint may hold beside tensors.",
    )
    command.add_argument(
        "checkpoint", type=Path, nargs="?", metavar="RUN", help="the run's folder, or its checkpoint.pth"
    )
    command.add_argument("--config", type=Path, help="the config that it was trained with (default: the one it names)")
    command.add_argument("--checkout", type=Path, default=Path(), help="the checkout (default: the current folder)")
    command.add_argument("--split", choices=("val", "test"), help="default: test where the config says test=True")
    command.add_argument("--device", help="default: cuda if there is one, else cpu")
    command.add_argument("--batch-size", type=int, help="default: the host's, 1.5 times that of training")
    command.add_argument("--limit", type=int, metavar="N", help="only N images, evenly spaced over the split")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: evaluation/ beside the checkpoint")
    command.add_argument(
        "--host-args",
        default="",
        metavar="ARGS",
        help='arguments that main.py had on its command line when it trained, quoted: "--input-size 224 --seed 1"',
    )
    curve = command.add_argument_group("trade-off curve: accuracies of logits - tau * log(prior)")
    curve.add_argument("--tau", type=float, nargs="+", metavar="TAU", help="default: 0 to 2 by 0.25; 0 is always swept")
    curve.add_argument("--prior", choices=("draws", "counts"), help="default: draws, the expected ones of the run")
    curve.add_argument(
        "--groups", choices=("upstream", "others"), help="many >= 100 and few <= 20 (default), or > 100 and < 20"
    )
    curve.add_argument(
        "--choose-tau", choices=("val", "here"), help="on the validation split (default if it is another), or here"
    )
    command.add_argument(
        "--logits",
        type=Path,
        metavar="FILE.npz",
        help="in place of RUN and --config, any model's: logits [N, C], labels [N], counts [C], and if there "
        "are any draws [C], val_logits [M, C], val_labels [M]; --out is then FILE/ by default",
    )
    command.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    if options.logits is not None:
        from vlltr_plugin.report.evaluate.logits_run import run_evaluate_logits

        run_evaluate_logits(options)
        return 0
    from vlltr_plugin.report.evaluate.command import run_evaluate

    run_evaluate(options)
    return 0
