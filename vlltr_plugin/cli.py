"""The command line, `vlltr-plugin`: what each command is given and what it prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

# The commands import what they need themselves, so that `--help` and wrong arguments answer at once.


Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UserError(Exception):
    """Something that the user can put right; its text is printed instead of a traceback."""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

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
    """Build the parser of all commands; each sets `command` to the function that runs it."""
    parser = argparse.ArgumentParser(prog="vlltr-plugin", description="Class-volume re-weighting for VL-LTR.")
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.set_defaults(command=lambda options: _version(options, parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = commands.add_parser("install", help="insert the plug-in's lines and configs into a VL-LTR checkout")
    _add_checkout(command)
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")
    command.set_defaults(command=_install)

    command = commands.add_parser("uninstall", help="take everything out again, byte for byte")
    _add_checkout(command)
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")
    command.set_defaults(command=_uninstall)

    command = commands.add_parser(
        "status",
        help="say what is installed in a checkout, and whether it still fits",
        description="Exit code 0: installed and fits; 1: not installed, or something does not fit.",
    )
    _add_checkout(command)
    command.set_defaults(command=_status)

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

    command = commands.add_parser("demo", help="train baseline and class volume on handwritten digits, and compare")
    command.add_argument("--out", type=Path, help="new or empty folder for the runs, which stays (default: temporary)")
    command.add_argument("--epochs", type=int, help="epochs of each run")
    command.add_argument("--keep", action="store_true", help="leave the temporary folder in place")
    command.set_defaults(command=_demo)
    _add_inspect(commands)
    _add_evaluate(commands)
    _add_check(commands)
    _add_cifar_lt(commands)
    return parser


def _add_checkout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="folder of the VL-LTR checkout")


def _version(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print the version, or the help where no command was given."""
    if not options.version:
        parser.print_help(sys.stderr)
        return 2
    from vlltr_plugin import __version__

    print(f"vlltr-plugin {__version__}")
    return 0


def _install(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import install

    return _operate(options, install, "installed in", "already installed in")


def _uninstall(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import uninstall

    return _operate(options, uninstall, "uninstalled from", "nothing to uninstall in")


def _operate(options: argparse.Namespace, operation: Callable[..., object], done: str, idle: str) -> int:
    """Install or uninstall, and print the diff, the notes and one line on the outcome."""
    from vlltr_plugin.install import InstallError, Report

    try:
        report = operation(options.checkout, dry_run=options.dry_run)
    except InstallError as error:
        raise UserError(str(error)) from error
    assert isinstance(report, Report)
    if report.diff:
        print(report.diff)
    for note in report.notes:
        print(note)
    count = len(report.changes)
    files = f"{count} file{'s' * (count != 1)}"
    if not count:
        print(f"{idle} {report.checkout}")
    elif options.dry_run:
        print(f"dry run: {files} would change in {report.checkout}; nothing was written")
    else:
        print(f"{done} {report.checkout}: {files} changed")
    return 0


def _status(options: argparse.Namespace) -> int:
    from vlltr_plugin.install import InstallError, status

    try:
        found = status(options.checkout)
    except InstallError as error:
        raise UserError(str(error)) from error
    print(found)
    return 0 if found.fits else 1


def _compare(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.compare.command import run_compare
    from vlltr_plugin.report.errors import ReportError

    try:
        run_compare([options.baseline, *options.runs], options.reference, options.out)
    except ReportError as error:
        raise UserError(str(error)) from error
    return 0


def _demo(options: argparse.Namespace) -> int:
    from vlltr_plugin.demo import run_demo

    given = {} if options.epochs is None else {"epochs": options.epochs}
    try:
        run_demo(out=options.out, keep=options.keep, **given)
    except (ValueError, ModuleNotFoundError, RuntimeError) as error:
        raise UserError(str(error)) from error
    return 0


def _add_inspect(commands: Subcommands) -> None:
    command = commands.add_parser("inspect", help="show the weights and radii of a run against class size")
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder, with reweight/epoch_*.npz")
    command.add_argument("--epoch", type=int, help="epoch to look at, from 0 (default: the last)")
    command.add_argument("--checkout", type=Path, help="where data/ has the classes' names (default: around RUN)")
    command.add_argument("--out", type=Path, metavar="DIR", help="also write pictures (PNG) into this folder")
    command.set_defaults(command=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from vlltr_plugin.report.errors import ReportError
    from vlltr_plugin.report.inspect.command import run_inspect
    from vlltr_plugin.report.pictures import MissingExtraError

    try:
        run_inspect(options.run, options.epoch, options.checkout, options.out)
    except (ReportError, MissingExtraError) as error:
        raise UserError(str(error)) from error
    return 0


def _add_evaluate(commands: Subcommands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="evaluate a checkpoint in a checkout, all accuracies from the same predictions",
        description="Imports and runs the checkout's code; never what a checkpoint may hold beside tensors.",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the host's checkpoint.pth")
    command.add_argument("--config", type=Path, required=True, help="the config that it was trained with")
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
    command.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from vlltr_plugin.host.evaluate_command import run_evaluate
    from vlltr_plugin.report.errors import ReportError
    from vlltr_plugin.report.pictures import MissingExtraError

    try:
        run_evaluate(options)
    except (ReportError, MissingExtraError) as error:
        raise UserError(str(error)) from error
    return 0


def _add_check(commands: Subcommands) -> None:
    command = commands.add_parser(
        "check",
        help="look at everything that a run needs, before it starts; trains and writes nothing",
        description="Imports and runs the checkout's code. Exit code 0: all fine; 1: something is amiss.",
    )
    command.add_argument("config", type=Path, metavar="CONFIG", help="the config of the run")
    command.add_argument("--checkout", type=Path, default=Path(), help="the checkout (default: the current folder)")
    command.add_argument("--device", help="default: cuda if there is one, else cpu")
    command.add_argument(
        "--host-args",
        default="",
        metavar="ARGS",
        help='arguments that main.py will have on its command line, quoted: "--input-size 224 --seed 1"',
    )
    command.add_argument("--json", action="store_true", help="print the lines as JSON")
    command.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from vlltr_plugin.check.command import run_check
    from vlltr_plugin.report.errors import ReportError

    try:
        return 0 if run_check(options) else 1
    except ReportError as error:
        raise UserError(str(error)) from error


def _add_cifar_lt(commands: Subcommands) -> None:
    command = commands.add_parser(
        "cifar-lt",
        help="train the paper's CIFAR-LT experiments, and compare with its tables",
        description="Each finished run is one line of the results file; what the file holds is not trained again.",
    )
    command.add_argument("--results", type=Path, required=True, metavar="FILE", help="results, one JSON line a run")
    command.add_argument("--table", action="store_true", help="train nothing, print tables of the results file")
    command.add_argument("--plot", type=Path, metavar="PNG", help="train nothing, draw error against imbalance")
    data = command.add_argument_group("data")
    data.add_argument("--dataset", choices=("cifar10", "cifar100"), default="cifar10")
    data.add_argument("--imbalance", type=int, default=100, help="largest class over smallest (default: 100)")
    data.add_argument("--data", type=Path, default=Path("data"), help="folder of torchvision's CIFAR (default: data)")
    data.add_argument("--npz", type=Path, metavar="FILE", help="x_train, y_train, x_test, y_test, used as they are")
    what = command.add_argument_group("training")
    what.add_argument("--method", nargs="+", metavar="NAME", default=["ce", "inverse-drw", "dv"], help="one or several")
    what.add_argument("--seeds", type=_positive, default=3, help="number of seeds (default: 3)")
    what.add_argument("--first-seed", type=int, default=0)
    what.add_argument("--preset", choices=("full", "short"), default="full", help="200 epochs, or 30 for a CPU")
    what.add_argument("--epochs", type=_positive)
    what.add_argument("--start-epoch", type=_positive, help="of deferred weights (default: 80 %% of the epochs)")
    what.add_argument("--batch-size", type=_positive)
    what.add_argument("--sampler", choices=("uniform", "sqrt"), help="sqrt: 1/sqrt(n), as VL-LTR draws")
    what.add_argument("--mixup", type=float, metavar="ALPHA", help="of mixup's Beta distribution; 0 for none")
    what.add_argument("--evaluate-every", type=_positive, help="epochs between tests before the weights apply")
    what.add_argument("--share-warmup", action="store_true", help="train once what deferred methods have in common")
    how = command.add_argument_group("machine")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda")
    how.add_argument("--threads", type=_positive, help="of the CPU")
    how.add_argument("--together", type=_positive, default=1, metavar="N", help="seeds trained in one program")
    how.add_argument("--amp", action="store_true", default=None, help="bfloat16 autocast of the network")
    how.add_argument("--compile", action="store_true", default=None, help="torch.compile of the network")
    command.set_defaults(command=_cifar_lt)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more but got {value}")
    return value


def _cifar_lt(options: argparse.Namespace) -> int:
    from vlltr_plugin.cifar_lt.command import run_cifar_lt
    from vlltr_plugin.report.pictures import MissingExtraError

    try:
        run_cifar_lt(options)
    except (ValueError, MissingExtraError) as error:
        raise UserError(str(error)) from error
    return 0
