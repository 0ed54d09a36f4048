"""The code bases that the plug-in can be installed into. Each has a folder here and a recipe in `patches/`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlltr_plugin.hosts.host import Host

HOSTS = {
    "vl-ltr": "vlltr_plugin.hosts.vl_ltr.host",
    "lift": "vlltr_plugin.hosts.lift.host",
    "timm": "vlltr_plugin.hosts.timm_train.host",
    "own-loop": "vlltr_plugin.hosts.own_loop",
}
"""The module that holds each host's `HOST`, by the host's name in its recipe. A user's own loop has no recipe."""

HEAD = 4096  # leading bytes of a log that are enough to recognise its host


def get_host(name: str) -> Host:
    """The host with a name."""
    host: Host = import_module(HOSTS[name]).HOST
    return host


def default_host() -> Host:
    """The first one."""
    return get_host(next(iter(HOSTS)))


def find_log(folder: Path) -> Path | None:
    """The log that a host wrote in a run's folder; None if there is none."""
    found = [(host, host.find_log(folder)) for host in _hosts()]
    return next((log for host, log in found if log is not None and _claims(host, log)), None)


def host_of_log(log: Path) -> Host:
    """The host that wrote a log; the first one, whose reader says what is wrong with it, if none is recognised."""
    return next((host for host in _hosts() if _claims(host, log)), default_host())


def host_of_run(folder: Path) -> Host:
    """The host of a run's folder, by its log; the first one without a log."""
    log = find_log(folder)
    return default_host() if log is None else host_of_log(log)


def host_of_checkout(folder: Path) -> Host:
    """The host of a checkout; the first one if none is recognised."""
    from vlltr_plugin.install import InstallError, open_checkout

    try:
        name = open_checkout(folder)[1].name
    except InstallError:
        return default_host()
    return get_host(name) if name in HOSTS else default_host()


def _hosts() -> list[Host]:
    """All hosts; those recognised by a file beside the log come first."""
    return sorted(map(get_host, HOSTS), key=lambda host: not host.beside)


def _claims(host: Host, log: Path) -> bool:
    """True if the host wrote the log."""
    if host.beside and (log.parent / host.beside).is_file():
        return True
    with log.open("rb") as file:
        return host.is_log(file.read(HEAD))
