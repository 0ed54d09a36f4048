"""What `vlltr-plugin evaluate` is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlltr_plugin.report.groups_option import add_groups
from vlltr_plugin.subcommands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser(
        "evaluate",
        help="evaluate a checkpoint or any model's logits, all accuracies from the same predictions",
        description="With RUN, imports and runs the checkout's code; never what a checkpoint may hold beside tensors. "
        "With --logits FILE.npz, reads numbers only.",
    )
    command.add_argument("checkpoint", type=Path, nargs="?", metavar="RUN", help="the run's folder, or its checkpoint")
    command.add_argument(
        "--config", type=Path, help="the config that it was trained with (default: the one it names); none for LIFT"
    )
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
        help='arguments that main.py had on its command line when it trained, quoted: "--input-size 224 --seed 1"; for '
        "LIFT all of them",
    )
    curve = command.add_argument_group("trade-off curve: accuracies of logits - tau * log(prior)")
    curve.add_argument(
        "--tau", type=float, nargs="+", metavar="TAU", help="default: 0 to 2 by 0.25, on until top-1 falls; with 0"
    )
    curve.add_argument("--prior", choices=("draws", "counts"), help="default: draws, the expected ones of the run")
    add_groups(curve, "default: those of the run, else upstream; evaluation.json has these and both others")
    curve.add_argument(
        "--choose-tau", choices=("val", "here"), help="on the validation split (default if it is another), or here"
    )
    command.add_argument(
        "--logits",
        type=Path,
        metavar="FILE.npz",
        help="in place of RUN and --config, any model's: logits [N, C] and labels [N] of the test images; counts [C], "
        "the training images of each class; and if there are any: draws [C], how often the sampler of training drew "
        "each class in an epoch, where it was not uniform over the images; names [C] of the classes; val_logits "
        "[M, C] and val_labels [M] to choose tau on. In the folder of a recorded run, the settings, groups and names "
        "are those of that run. --out is FILE/ by default",
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
