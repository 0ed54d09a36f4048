"""The commands that train experiments, `demo` and `cifar-lt`: their arguments and the code that they run."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cli.commands import Subcommands
from vlltr_plugin.errors import UserError


def add_experiments(commands: Subcommands) -> None:
    """Adds the two commands to the parser."""
    _add_demo(commands)
    _add_cifar_lt(commands)


def _add_demo(commands: Subcommands) -> None:
    command = commands.add_parser(
        "demo", help="train baseline, inverse frequency and class volume on handwritten digits, and compare"
    )
    command.add_argument(
        "--out", type=Path, default=Path("vlltr-demo"), help="new or empty folder for the runs (default: vlltr-demo)"
    )
    command.add_argument("--epochs", type=int, help="epochs of each run, 1 or more (default: 30)")
    command.add_argument(
        "--keep", action="store_true", help="has no effect: the folder is always kept (option of older versions)"
    )
    command.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from vlltr_plugin.demo import run_demo

    given = {} if options.epochs is None else {"epochs": options.epochs}
    try:
        run_demo(out=options.out, keep=options.keep, **given)
    except (ValueError, RuntimeError) as error:
        raise UserError(str(error)) from error
    return 0


def _add_cifar_lt(commands: Subcommands) -> None:
    lines = [f"  {name:<17} {method.explained}" for name, method in METHODS.items()]
    listed = textwrap.fill(f"methods: {', '.join(METHODS)}", 80, break_on_hyphens=False)
    command = commands.add_parser(
        "cifar-lt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="train the paper's CIFAR-LT experiments, and compare with its tables",
        description="Each finished run is one line of the results file; runs in the file are not trained again.",
        epilog="\n".join(["what the methods are:", *lines, "", listed]),
    )
    command.add_argument("--results", type=Path, required=True, metavar="FILE", help="results, one JSON line a run")
    command.add_argument("--table", action="store_true", help="train nothing, print tables of the results file")
    command.add_argument("--plot", type=Path, metavar="PNG", help="train nothing, draw error against imbalance")
    data = command.add_argument_group("data")
    data.add_argument("--dataset", choices=("cifar10", "cifar100"), help="which CIFAR (default: cifar10)")
    data.add_argument("--imbalance", type=float, help="largest class over smallest, 1 or more (default: 100)")
    data.add_argument("--data", type=Path, default=Path("data"), help="folder of torchvision's CIFAR (default: data)")
    data.add_argument(
        "--npz",
        type=Path,
        metavar="FILE",
        help="arrays x_train, y_train, x_test, y_test, used as they are; they give the classes and the imbalance",
    )
    what = command.add_argument_group("training")
    what.add_argument(
        "--method",
        nargs="+",
        metavar="NAME",
        default=["ce", "inverse-drw", "dv"],
        help="see below (default: ce inverse-drw dv)",
    )
    what.add_argument("--seeds", type=_positive, default=3, help="number of seeds (default: 3)")
    what.add_argument("--first-seed", type=int, default=0, help="first of the consecutive seeds (default: 0)")
    what.add_argument("--preset", choices=("full", "short"), default="full", help="200 epochs (default), or 30")
    what.add_argument("--epochs", type=_positive, help="epochs of each run (default: the preset's)")
    what.add_argument(
        "--start-epoch", type=_positive, help="first epoch of deferred weights (default: 80 %% of the epochs)"
    )
    what.add_argument("--batch-size", type=_positive, help="images in a step (default: 100)")
    what.add_argument("--sampler", choices=("uniform", "sqrt"), help="sqrt: 1/sqrt(n), as VL-LTR draws")
    what.add_argument("--mixup", type=float, metavar="ALPHA", help="parameter of mixup's Beta distribution; 0 for none")
    what.add_argument("--evaluate-every", type=_positive, help="epochs between tests before the weights apply")
    what.add_argument(
        "--share-warmup", action="store_true", help="train the common first epochs of deferred methods once"
    )
    how = command.add_argument_group("machine")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda")
    how.add_argument("--threads", type=_positive, help="number of CPU threads")
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

    try:
        run_cifar_lt(options)
    except ValueError as error:
        raise UserError(str(error)) from error
    return 0
