"""`vlltr-plugin check`: prints the lines as they come, or all of them as JSON."""

import argparse
import json
from dataclasses import asdict

from vlltr_plugin.check.results import CheckResult, Checks
from vlltr_plugin.hosts import host_of_checkout
from vlltr_plugin.hosts.host import CheckRequest, device_or_default, split_host_args

FORMAT = "vlltr-plugin check 1"


def run_check(options: argparse.Namespace) -> bool:
    """Checks what the command line asks for and prints it; writes nothing. True if nothing is amiss."""
    device = device_or_default(options.device)
    request = CheckRequest(options.config, options.checkout, device, tuple(split_host_args(options.host_args)))
    lines = host_of_checkout(options.checkout).check(request, _silent if options.json else _print)
    if options.json:
        print(json.dumps(_plain(request, lines), indent=2))
    return lines.fine


def _print(line: CheckResult) -> None:
    print(line, flush=True)


def _silent(line: CheckResult) -> None:
    pass


def _plain(request: CheckRequest, lines: Checks) -> dict[str, object]:
    from vlltr_plugin import __version__

    return {
        "format": FORMAT,
        "plugin_version": __version__,
        "config": None if request.config is None else str(request.config),
        "device": request.device,
        "fine": lines.fine,
        "lines": [asdict(line) for line in lines.lines],
    }
