"""`vlltr-plugin check`: prints the lines as they come, or all of them as JSON."""

import argparse
import json
from dataclasses import asdict

from vlltr_plugin.check.lines import Line
from vlltr_plugin.hosts.vl_ltr.command_line import device_or_default, split_host_args
from vlltr_plugin.hosts.vl_ltr.looks.checkup import Request, run_checkup

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
    request = Request(
        config=options.config,
        checkout=options.checkout,
        device=device_or_default(options.device),
        host_args=tuple(split_host_args(options.host_args)),
    )
    lines = run_checkup(request, say=_silent if options.json else _print)
    if options.json:
        print(json.dumps(_plain(request, lines.lines, lines.fine), indent=2))
    return lines.fine


def _print(line: Line) -> None:
    print(line, flush=True)


def _silent(line: Line) -> None:
    pass


def _plain(request: Request, lines: list[Line], fine: bool) -> dict[str, object]:
    from vlltr_plugin import __version__

    return {
        "format": FORMAT,
        "plugin_version": __version__,
        "config": str(request.config),
        "device": request.device,
        "fine": fine,
        "lines": [asdict(line) for line in lines],
    }
