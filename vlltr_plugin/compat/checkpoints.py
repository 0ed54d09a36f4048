"""Safe loading of VL-LTR's checkpoints."""

import argparse

import torch

__all__ = ["trust_argparse_namespace"]


def trust_argparse_namespace() -> None:
    """Allow `argparse.Namespace` in checkpoints while torch's safe loading stays on.

    The host saves its parsed arguments in every checkpoint, and torch >= 2.6 then refuses the file:
    "Weights only load failed ... Unsupported global: GLOBAL argparse.Namespace was not an allowed global by
    default". A Namespace holds attributes and runs nothing, so it joins the allow-list; nothing else does.
    """
    add_safe_globals = getattr(torch.serialization, "add_safe_globals", None)
    if add_safe_globals is not None:  # absent before torch 2.4, which loads everything anyway
        add_safe_globals([argparse.Namespace])
