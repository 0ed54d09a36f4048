"""timm's `train.py` (huggingface/pytorch-image-models) and scripts that keep its shape.

What the inserted lines call: `add_arguments(parser)` and `attach(...)`, whose hook ends the epochs. Without
`--reweight` the script runs as if they were not there.
"""

from __future__ import annotations

import argparse
import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading a log needs no torch
    from torch import nn

    from vlltr_plugin.hosts.timm_train.hook import PlainHook, TimmHook


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--reweight` and `--reweight-opt` to the parser of train.py; a YAML file of `--config` may set them too."""
    group = parser.add_argument_group("Class re-weighting (vlltr-plugin)")
    group.add_argument("--reweight", metavar="TYPE", help="type of class weights, for example class_volume or inverse")
    group.add_argument(
        "--reweight-opt", metavar="KEY=VALUE", nargs="+", default={}, action=_Options,
        help="their options, for example min_samples=30 form=logit_adjustment",
    )  # fmt: skip


class _Options(argparse.Action):
    """Collects `key=value`, values as Python literals or else as text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        found = dict(getattr(namespace, self.dest))
        for text in values:
            key, equals, value = text.partition("=")
            if not (key and equals):
                parser.error(f"argument {option}: expected KEY=VALUE but got {text!r}")
            try:
                found[key] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                found[key] = value
        setattr(namespace, self.dest, found)


def attach(
    args: argparse.Namespace, train_loss_fn: nn.Module, model: nn.Module, loader_train: Any, loader_eval: Any
) -> tuple[nn.Module, TimmHook | PlainHook]:
    """Wraps the training loss and returns it with the epoch hook.

    Without `--reweight` it returns the loss itself and a hook that does nothing. Everything that can be known before
    training is checked here, before train.py writes anything.

    Args:
        args: the arguments of train.py; `args.reweight_state` will hold the state, which timm saves in its checkpoints.
        train_loss_fn: the training loss. The validation loss stays as it is.
        model: the model, as `vlltr-plugin evaluate` calls it.
        loader_train: batches of training images.
        loader_eval: batches of validation images.

    Returns:
        The loss to train with, and the hook with `begin_epoch(epoch, output_dir)` and `end_epoch(epoch)`.

    Raises:
        ValueError: naming what to change, when this run cannot be re-weighted.
    """
    from vlltr_plugin.hosts.timm_train.hook import attach_to

    return attach_to(args, train_loss_fn, model, loader_train, loader_eval)
