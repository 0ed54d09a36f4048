"""The optimizer: AdamW with its own learning rate for the image-text branch."""

import argparse

import torch
from torch import nn


def create_optimizer(args: argparse.Namespace, model: nn.Module) -> torch.optim.Optimizer:
    """Return AdamW over the trainable parameters, vectors and scalars without weight decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("text_branch."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": args.text_lr if is_text else args.lr,
                "weight_decay": args.weight_decay if decays else 0.0,
            }
            for (is_text, decays), parameters in groups.items()
        ],
        lr=args.lr,
    )
