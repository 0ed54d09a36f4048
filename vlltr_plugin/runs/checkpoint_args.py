"""Reads the arguments in a host's checkpoint without running code from the file."""

from __future__ import annotations

import argparse
import pickle
import warnings
from pathlib import Path
from typing import Any

from vlltr_plugin.errors import ReportError


def read_checkpoint_args(path: Path) -> dict[str, Any] | None:
    """Reads `args` from a checkpoint; ReportError if it could run code, ValueError if it is damaged."""
    try:
        checkpoint = load_safely(path)
    except pickle.UnpicklingError as error:
        raise ReportError(
            f"{path}: not loaded: it holds more than tensors and plain values, which could run code; "
            "if you trust the log beside it, move the checkpoint away"
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, OSError) as error:
        raise ValueError(f"{path}: could not be read, perhaps the run was killed while writing it") from error
    args = checkpoint.get("args") if isinstance(checkpoint, dict) else None
    if isinstance(args, argparse.Namespace):
        args = vars(args)
    return {str(key): value for key, value in args.items()} if isinstance(args, dict) else None


def load_safely(path: Path) -> Any:
    """Loads a checkpoint without running code from it; memory-mapped if its format (torch >= 1.6) allows.

    `argparse.Namespace`, which hosts save their arguments in, is allowed too, for this call only.
    """
    from torch import load  # imported here, so that reports without a checkpoint need no torch
    from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\3\4"
    before = list(get_safe_globals())  # torch 2.4 and 2.5 return the list itself, and later add to it
    add_safe_globals([argparse.Namespace])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about unusual pickles; real problems are raised
            return load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    finally:
        clear_safe_globals()
        add_safe_globals(before)
