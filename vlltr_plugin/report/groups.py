"""The groups of classes in reports: colours, and the thresholds of a run's groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.core.shot_groups import GROUPS, Convention, convention_of
from vlltr_plugin.errors import ReportError

if TYPE_CHECKING:
    from vlltr_plugin.hosts.host import Host

COLOURS = {"many": "#0072B2", "medium": "#E69F00", "few": "#CC79A7", "overall": "#000000"}
"""Okabe and Ito's palette, safe for colour-blind readers; a group has the same colour in every picture."""


def recorded_groups(host: Host, args: Mapping[str, Any], path: Path) -> Convention | None:
    """The thresholds of the groups in a run's log; None where they are the user's and not recorded.

    Raises:
        ReportError: what was recorded tells no thresholds.
    """
    if not host.groups_setting:
        return host.convention
    if host.groups_setting not in args:
        return None
    try:
        return convention_of(args[host.groups_setting])
    except ValueError as error:
        raise ReportError(f"{path}: {host.groups_setting} in its settings: {error}") from error


def with_bounds(title: str, name: str, groups: Convention | None) -> str:
    """The title of a group with its thresholds, where they are known; any other as it is."""
    return title if groups is None or name not in GROUPS else f"{title} ({groups.bounds(name)})"
