"""The hosts that there are."""

from __future__ import annotations

from pathlib import Path

from vlltr_plugin.hosts.host import Host
from vlltr_plugin.hosts.lift.host import LIFT
from vlltr_plugin.hosts.vl_ltr.host import VL_LTR

HOSTS = (LIFT, VL_LTR)  # the last one takes what no other knows, and says what is wrong with it

_HEAD = 4096  # bytes of a log that are looked at


def find_log(folder: Path) -> Path | None:
    """The log of a run's folder, whichever host wrote it; None if there is none."""
    return next((found for host in HOSTS if (found := host.find_log(folder)) is not None), None)


def host_of_log(log: Path) -> Host:
    """The host that wrote a log; VL-LTR where it looks like nobody's."""
    with log.open("rb") as file:
        head = file.read(_HEAD)
    return next((host for host in HOSTS if host.wrote(head)), VL_LTR)


def host_of_run(folder: Path) -> Host:
    """The host of a run's folder, by its log; VL-LTR without one."""
    log = find_log(folder)
    return VL_LTR if log is None else host_of_log(log)
