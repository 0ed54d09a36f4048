"""`vlltr-plugin check`: prints the lines as they come, or all of them as JSON."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from vlltr_plugin.check.lines import Line, Lines
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.lift import looks as lift_looks
from vlltr_plugin.hosts.lift.host import LIFT
from vlltr_plugin.hosts.vl_ltr.command_line import device_or_default, split_host_args
from vlltr_plugin.hosts.vl_ltr.looks.checkup import Request, run_checkup
from vlltr_plugin.install import InstallError, open_checkout

FORMAT = "vlltr-plugin check 1"


def run_check(options: argparse.Namespace) -> bool:
    """Checks what the command line asks for; writes nothing.

    Args:
        options: `config`, `checkout`, `device`, `host_args`, `json`.

    Returns:
        Whether nothing is amiss.

    Raises:
        ReportError: for unusable arguments, or when the host's code cannot be read.
        OSError: config or checkout are missing.
    """
    say = _silent if options.json else _print
    host_args = split_host_args(options.host_args)
    device = device_or_default(options.device)
    if _is_lift(options.checkout):
        if options.config is not None:
            raise ReportError("Expected no CONFIG for LIFT: give main.py's arguments as --host-args.")
        lines = lift_looks.run_checkup(options.checkout, host_args, say)
    elif options.config is None:
        raise ReportError("Expected the CONFIG of the run.")
    else:
        lines = run_checkup(Request(options.config, options.checkout, device, tuple(host_args)), say)
    if options.json:
        print(json.dumps(_plain(options.config, device, lines), indent=2))
    return lines.fine


def _is_lift(checkout: Path) -> bool:
    try:
        return open_checkout(checkout)[1].name == LIFT.name
    except InstallError:
        return False


def _print(line: Line) -> None:
    print(line, flush=True)


def _silent(line: Line) -> None:
    pass


def _plain(config: Path | None, device: str, lines: Lines) -> dict[str, object]:
    from vlltr_plugin import __version__

    return {
        "format": FORMAT,
        "plugin_version": __version__,
        "config": None if config is None else str(config),
        "device": device,
        "fine": lines.fine,
        "lines": [asdict(line) for line in lines.lines],
    }
