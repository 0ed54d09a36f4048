"""LIFT's final checkpoint: the parameters of parts of its trainer, `tuner` and `head`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.checkpoint_args import load_safely

NAME = "checkpoint.pth.tar"


def checkpoint_path(path: Path) -> Path:
    """The checkpoint that a path names: the file itself, or the one in a run's folder.

    Raises:
        FileNotFoundError: there is no such file.
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"Expected a run's folder with {NAME}, or a checkpoint, but there is no file {file}.")
    return file


def read_parts(path: Path) -> dict[str, dict[str, Tensor]]:
    """The parameters and buffers of each part, by its name in the trainer; runs nothing that the file holds.

    Raises:
        ReportError: it holds other objects, is broken, or has no such parts.
        OSError: it cannot be read.
    """
    try:
        saved = load_safely(path)
    except pickle.UnpicklingError as error:
        raise ReportError(
            f"{path}: not loaded, because it holds objects that could run code, or is no checkpoint at all."
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ReportError(f"{path}: expected a checkpoint of LIFT but could not read it: is it whole?") from error
    if not isinstance(saved, dict) or not saved or not all(map(_is_part, saved.values())):
        raise ReportError(f"{path}: expected the parameters of `tuner` and `head` in the checkpoint but found none.")
    return saved


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, Tensor) for tensor in value.values())


def put_in(trainer: Any, parts: dict[str, dict[str, Tensor]]) -> None:
    """Loads a checkpoint's parameters into the trainer.

    Raises:
        ReportError: they do not fit its model, or leave some that were trained as they are.
    """
    loaded: set[int] = set()
    for name, state in parts.items():
        part = getattr(trainer, name, None)
        if not isinstance(part, nn.Module):
            raise ReportError(f"Expected the trainer to have the checkpoint's `{name}` but it has not.{HINT}")
        try:
            part.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ReportError(f"The checkpoint does not fit the model that main.py builds: {reason}{HINT}") from error
        loaded |= set(map(id, part.parameters()))
    others = [name for name, own in trainer.model.named_parameters() if own.requires_grad and id(own) not in loaded]
    if others:
        raise ReportError(
            f"Expected the checkpoint to hold all parameters that are trained but {len(others)} are missing "
            f"({others[0]}, ...).{HINT}"
        )


HINT = " Give main.py's arguments of that run as --host-args."
