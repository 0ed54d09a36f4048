"""Safe loading of VL-LTR's checkpoints."""

import argparse
import functools
from typing import Any

import torch

__all__ = ["load_safely_by_default", "trust_argparse_namespace"]


def trust_argparse_namespace() -> None:
    """Allow `argparse.Namespace` in checkpoints while torch's safe loading stays on.

    The host saves its parsed arguments in every checkpoint, and torch >= 2.6 then refuses the file:
    "Weights only load failed ... Unsupported global: GLOBAL argparse.Namespace was not an allowed global by
    default". A Namespace holds attributes and runs nothing, so it joins the allow-list; nothing else does.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])


def load_safely_by_default() -> None:
    """Makes `torch.load` of torch 2.4 and 2.5 refuse what could run code, as it does by itself since 2.6.

    The host resumes with `torch.load(path)`, and there, with the "FutureWarning: You are using `torch.load` with
    `weights_only=False`" that the host hides, a hostile checkpoint runs whatever it likes. Callers that say
    `weights_only` themselves, or bring a pickle module, get what they ask for.
    """
    load = torch.load
    if torch.__version__ >= "2.6" or getattr(load, "safe_by_default", False):
        return

    @functools.wraps(load)
    def load_safely(f: Any, map_location: Any = None, pickle_module: Any = None, **kwargs: Any) -> Any:
        if pickle_module is None and kwargs.get("weights_only") is None:
            kwargs["weights_only"] = True
        return load(f, map_location, pickle_module, **kwargs)

    load_safely.safe_by_default = True  # type: ignore[attr-defined]
    torch.load = load_safely
