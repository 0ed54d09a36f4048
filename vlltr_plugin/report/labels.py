"""Labels of runs and of groups of classes in reports, and the option `--groups`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.files import printable

if TYPE_CHECKING:
    from vlltr_plugin.core.shot_groups import Convention
    from vlltr_plugin.hosts.host import Host


def run_name(folder: Path) -> str:
    """The last two folders of a run's path, for titles, since many runs are called `0` or `test`."""
    parts = [part for part in folder.absolute().parts if part != "evaluation"]
    return printable("/".join(parts[-2:]))


def with_bounds(title: str, name: str, groups: Convention | None) -> str:
    """The title; for a group of classes with its thresholds, if known."""
    return title if groups is None or name not in ("many", "medium", "few") else f"{title} ({groups.bounds(name)})"


def recorded_groups(host: Host, args: Mapping[str, Any], path: Path) -> Convention | None:
    """The thresholds of the groups in a run's log; None if the user chose them and they were not recorded."""
    from vlltr_plugin.core.shot_groups import convention_of  # imports numpy, which --help does not need

    if not host.groups_setting:
        return host.convention
    if host.groups_setting not in args:
        return None
    try:
        return convention_of(args[host.groups_setting])
    except ValueError as error:
        raise ReportError(f"{path}: {host.groups_setting} in its settings: {error}") from error


def add_groups(command: argparse.ArgumentParser | argparse._ArgumentGroup, more: str) -> None:
    """Adds the option `--groups`; its help ends with `more`."""

    def convention(text: str) -> Convention:
        from vlltr_plugin.core.shot_groups import convention_of

        try:
            return convention_of(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    command.add_argument(
        "--groups",
        type=convention,
        metavar="MANY,FEW",
        help="training images of many- and few-shot classes: 50,10 (many from 50 on, few up to 10), upstream (100,20) "
        f"or others (101,19); {more}",
    )
