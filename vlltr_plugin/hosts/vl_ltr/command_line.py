"""What a command that runs the checkout's code is told on the command line."""

from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError

CHECKPOINT = "checkpoint.pth"


def checkpoint_path(path: Path) -> Path:
    """The checkpoint that a path names: the file itself, or the one in a run's folder.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if path.is_dir():
        if not (path / CHECKPOINT).is_file():
            raise FileNotFoundError(f"Expected a run's folder with {CHECKPOINT}, but there is none in {path}.")
        return path / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint but there is no file {path}.")
    return path


def config_trained_with(args: dict[str, Any], checkout: Path) -> Path:
    """The config that a checkpoint's arguments name, where it lies in the checkout: a config is code.

    Raises:
        ReportError: they name none, or none in the checkout.
    """
    named = args.get("config")
    path = (checkout / named).resolve() if isinstance(named, str) and named else None
    if path is None or not path.is_file() or not path.is_relative_to(checkout.resolve()):
        said = f"{named}, which is not in {checkout.resolve()}" if path else "none"
        raise ReportError(
            f"Expected --config, as the checkpoint names {said}: give the config that it was trained with."
        )
    return path


def config_path(config: Path, checkout: Path) -> Path:
    """The config as named from here, or else from the checkout.

    Raises:
        FileNotFoundError: there is no such file.
    """
    for path in (config, checkout / config):
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"Expected a config but there is no file {config}.")
