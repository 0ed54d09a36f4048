"""What a command that runs the checkout's code is told on the command line."""

import shlex
from pathlib import Path

import torch

from vlltr_plugin.errors import ReportError


def config_path(config: Path, checkout: Path) -> Path:
    """The config as named from here, or else from the checkout.

    Raises:
        FileNotFoundError: there is no such file.
    """
    for path in (config, checkout / config):
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"Expected a config but there is no file {config}.")


def split_host_args(text: str) -> list[str]:
    """The arguments in `--host-args`.

    Raises:
        ReportError: for a quote that does not end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ReportError(f"Expected --host-args to be arguments as in a shell but got {text!r} ({error}).") from error


def device_or_default(device: str | None) -> str:
    """The device asked for; without one CUDA where there is some, else the CPU."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
