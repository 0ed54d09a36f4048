"""The option `--groups` of compare, inspect and evaluate."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlltr_plugin.core.shot_groups import Convention


def add_groups(command: argparse.ArgumentParser | argparse._ArgumentGroup, more: str) -> None:
    """Adds the option."""
    command.add_argument(
        "--groups",
        type=_convention,
        metavar="MANY,FEW",
        help="training images of many- and few-shot classes: 50,10 (many from 50 on, few up to 10), upstream (100,20) "
        f"or others (101,19); {more}",
    )


def _convention(text: str) -> Convention:
    from vlltr_plugin.core.shot_groups import convention_of  # numpy

    try:
        return convention_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
