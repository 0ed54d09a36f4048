"""The commands for checkouts and runs: their arguments and the code that they run.

A command imports its code when it runs, so that `--help` and argument errors are fast.
"""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vlltr_plugin.install import load_recipes
from vlltr_plugin.report.labels import add_groups

if TYPE_CHECKING:
    from vlltr_plugin.install import Report

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
CHECK_FORMAT = "vlltr-plugin check 1"


def add_commands(commands: Subcommands) -> None:
    """Adds the commands for checkouts and runs, in the order of `--help`."""
    for add in (_add_install, _add_check, _add_compare, _add_inspect, _add_evaluate):
        add(commands)


def _add_install(commands: Subcommands) -> None:
    command = commands.add_parser(
        "install", help="insert the plug-in's lines and configs into a checkout of VL-LTR, LIFT or timm"
    )
    _add_checkout(command)
    command.add_argument("--host", choices=["auto", *load_recipes()], default="auto", help="default: detected")
    command.add_argument(
        "--file",
        action="append",
        default=[],
        dest="files",
        metavar="[NAME=]FILE",
        help="use this file instead of the usual one: main_dist.py (instead of main.py), or trainer.py=train.py; "
        "can be given several times. status and uninstall find the file by its inserted lines",
    )
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")
    command.set_defaults(command=_install)

    command = commands.add_parser("uninstall", help="remove the plug-in and restore the files byte for byte")
    _add_checkout(command)
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")
    command.set_defaults(command=_uninstall)

    command = commands.add_parser(
        "status",
        help="show what is installed in a checkout, and whether it still fits",
        description="Exit code 0: installed and fits; 1: not installed, or something does not fit; 2: no checkout.",
    )
    _add_checkout(command)
    command.set_defaults(command=_status)


def _add_checkout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkout",
        type=Path,
        metavar="CHECKOUT",
        help="folder of the checkout of VL-LTR, LIFT (or a derivative) or timm",
    )


def _install(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import install

    report = install(options.checkout, host=options.host, files=options.files, dry_run=options.dry_run)
    _print_report(report, options.dry_run, "installed in", "already installed in")
    if options.dry_run and report.changes:
        files = "".join(f" --file {shlex.quote(file)}" for file in options.files)
        print(f"next: vlltr-plugin install {shlex.quote(str(options.checkout))}{files}")
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import uninstall

    report = uninstall(options.checkout, dry_run=options.dry_run)
    _print_report(report, options.dry_run, "uninstalled from", "nothing to uninstall in")
    return 0


def _print_report(report: Report, dry_run: bool, done: str, idle: str) -> None:
    """Prints the diff of the host's files, a line on the copied configs, the notes, and the outcome."""
    for text in (report.host_diff, report.copied, *report.notes):
        if text:
            print(text)
    count = len(report.changes)
    files = f"{count} file{'s' * (count != 1)}"
    if not count:
        print(f"{idle} {report.checkout}")
    elif dry_run:
        print(f"dry run: {files} would change in {report.checkout}; nothing was written")
    else:
        after = f"; next: {report.next_command}" if report.next_command else ""
        print(f"{done} {report.checkout}: {files} changed{after}")


def _status(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import status

    found = status(options.checkout)
    print(found)
    return 0 if found.fits else 1


def _add_check(commands: Subcommands) -> None:
    command = commands.add_parser(
        "check",
        help="check everything that a run needs, before it starts; trains and writes nothing",
        description="Imports and runs the checkout's code. "
        "Exit code 0: all fine; 1: a check failed; 2: the checks could not run.",
    )
    command.add_argument(
        "config",
        type=Path,
        nargs="?",
        metavar="CONFIG",
        help="the config of the run; none for LIFT and timm, see --host-args",
    )
    command.add_argument("--checkout", type=Path, default=Path(), help="the checkout (default: the current folder)")
    command.add_argument("--device", help="default: cuda if there is one, else cpu")
    command.add_argument(
        "--host-args",
        default="",
        metavar="ARGS",
        help="command-line arguments of main.py (timm: train.py) for this run, quoted: "
        '"--input-size 224 --seed 1"; for LIFT and timm all of them',
    )
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    command.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    """Prints each result when it is ready, or all as JSON; writes nothing."""
    from vlltr_plugin import __version__
    from vlltr_plugin.hosts import host_of_checkout
    from vlltr_plugin.hosts.host import CheckRequest, device_or_default, split_host_args

    device = device_or_default(options.device)
    request = CheckRequest(options.config, options.checkout, device, tuple(split_host_args(options.host_args)))
    lines = host_of_checkout(options.checkout).check(
        request, lambda line: None if options.json else print(line, flush=True)
    )
    if options.json:
        found = {
            "format": CHECK_FORMAT,
            "plugin_version": __version__,
            "config": None if request.config is None else str(request.config),
            "device": request.device,
            "fine": lines.fine,
            "lines": [asdict(line) for line in lines.lines],
        }
        print(json.dumps(found, indent=2))
    return 0 if lines.fine else 1


def _add_compare(commands: Subcommands) -> None:
    command = commands.add_parser(
        "compare",
        help="compare runs with a baseline: runs of a host or of your own loop, or evaluations",
        description="RUN is a run's folder, its log.txt, or an evaluation's folder; name=FOLDER,FOLDER,... gives "
        "the seeds of one method.",
    )
    command.add_argument("baseline", metavar="BASELINE", help="the run that the others are compared with")
    command.add_argument(
        "runs", metavar="RUN", nargs="*", help="runs to compare; without any, --reference is the baseline"
    )
    command.add_argument(
        "--reference",
        metavar="DATA/MODEL",
        help="also show published results of VL-LTR (imagenet_lt, places_lt or inat2018, with /r50 or /vit16) or of "
        "LIFT (lift/imagenet_lt, lift/places_lt or lift/cifar100_ir100, _ir50, _ir10: CLIP's ViT-B/16)",
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md, report.json, report.csv and pictures"
    )
    add_groups(command, "for evaluations, which are grouped anew, and for logs that do not record their groups")
    command.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.compare import run_compare

    run_compare([options.baseline, *options.runs], options.reference, options.out, groups=options.groups)
    return 0


def _add_inspect(commands: Subcommands) -> None:
    command = commands.add_parser("inspect", help="show the weights and radii of a run against class size")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder, with reweight/epoch_*.npz")
    command.add_argument("--epoch", type=int, help="epoch to show, from 0 (default: the last)")
    command.add_argument(
        "--checkout",
        type=Path,
        help="VL-LTR: checkout whose data/ has the class names (default: the one that RUN is in)",
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="also write pictures (PNG) into this folder")
    add_groups(command, "default: those of the run, else of its host")
    command.set_defaults(command=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.inspect import run_inspect

    run_inspect(options.run, options.epoch, options.checkout, options.out, groups=options.groups)
    return 0


def _add_evaluate(commands: Subcommands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="evaluate a checkpoint or any model's logits, all accuracies from the same predictions",
        description="With RUN, imports and runs the checkout's code, but never code from a checkpoint. "
        "With --logits FILE.npz, reads numbers only.",
    )
    command.add_argument("checkpoint", type=Path, nargs="?", metavar="RUN", help="the run's folder, or its checkpoint")
    command.add_argument(
        "--config",
        type=Path,
        help="the config of its training (default: the one that the checkpoint names); none for LIFT and timm",
    )
    command.add_argument("--checkout", type=Path, default=Path(), help="the checkout (default: the current folder)")
    command.add_argument(
        "--split",
        choices=("val", "test"),
        help="default: test if the config has test=True or the host has no validation split, else val",
    )
    command.add_argument("--device", help="default: cuda if there is one, else cpu")
    command.add_argument("--batch-size", type=int, help="default: that of the host's own evaluation")
    command.add_argument("--limit", type=int, metavar="N", help="evaluate only N images, evenly spaced over the split")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: evaluation/ beside the checkpoint")
    command.add_argument(
        "--host-args",
        default="",
        metavar="ARGS",
        help='command-line arguments of main.py in the training, quoted: "--input-size 224 --seed 1"; for '
        "LIFT all of them",
    )
    curve = command.add_argument_group("trade-off curve: accuracies of logits - tau * log(prior)")
    curve.add_argument(
        "--tau",
        type=float,
        nargs="+",
        metavar="TAU",
        help="default: 0, 0.25, ... to 2, and on until top-1 falls; 0 is always added",
    )
    curve.add_argument("--prior", choices=("draws", "counts"), help="default: draws, those expected in the run")
    add_groups(curve, "default: those of the run, else upstream; evaluation.json has these, upstream and others")
    curve.add_argument(
        "--choose-tau",
        choices=("val", "here"),
        help="on the validation split (default for another split), or on the evaluated images",
    )
    command.add_argument(
        "--logits",
        type=Path,
        metavar="FILE.npz",
        help="logits of any model, instead of RUN and --config. Arrays: logits [N, C] and labels [N] of the test "
        "images; counts [C], the training images of each class. Optional: draws [C], how often the training sampler "
        "drew each class in an epoch, if it was not uniform over the images; names [C] of the classes; val_logits "
        "[M, C] and val_labels [M] to choose tau on. If the file is in the folder of a recorded run, the settings, "
        "groups and names of that run are used. --out is FILE/ by default",
    )
    command.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    if options.logits is not None:
        from vlltr_plugin.report.evaluate.logits_file import run_evaluate_logits

        run_evaluate_logits(options)
        return 0
    from vlltr_plugin.report.evaluate.checkpoint import run_evaluate

    run_evaluate(options)
    return 0
