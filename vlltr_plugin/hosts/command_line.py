"""What a command that runs a checkout's code is told on the command line."""

import shlex

from vlltr_plugin.errors import ReportError


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
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
