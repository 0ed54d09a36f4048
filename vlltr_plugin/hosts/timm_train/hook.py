"""`attach`: puts class re-weighting into a run of train.py, or leaves it alone."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from torch import nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import enter
from vlltr_plugin.hosts.timm_train.data import class_names_of
from vlltr_plugin.hosts.timm_train.plan import plan
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args
from vlltr_plugin.runs.log import write_class_names
from vlltr_plugin.training.hook import EpochHook, Hook, Statistics
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import KEY, SINGLE

STATE = f"{KEY}_state"
"""Attribute of train.py's arguments, which are in each of its checkpoints under `args`."""


def attach_to(
    args: argparse.Namespace, train_loss_fn: nn.Module, model: nn.Module, loader_train: Any, loader_eval: Any
) -> tuple[nn.Module, TimmHook | PlainHook]:
    """What `timm_train.attach` does."""
    enter({"args": args, "model": model, "loader_train": loader_train, "loader_eval": loader_eval})
    with print_warnings():
        planned = plan(args, train_loss_fn, loader_train)
    if planned is None:
        if args.reweight_opt:
            info("there is --reweight-opt but no --reweight: nothing is re-weighted.")
        with contextlib.suppress(ReportError, ValueError, OSError):  # of a checkpoint that only train.py has to read
            if _saved_state(args):
                info(
                    "the checkpoint of --resume holds a re-weighting state, but there is no --reweight: weights are 1."
                )
        return train_loss_fn, PlainHook()
    info(planned.announcement())
    criterion = HostCriterion(train_loss_fn, {SINGLE: planned.loss}, adjusts=planned.settings.adjusts)
    epochs = EpochHook(planned.settings, criterion)
    if args.resume:
        epochs.load(_saved_state(args))
    return criterion, TimmHook(args, epochs, class_names_of(loader_train.dataset, planned.weighting.num_classes))


def _saved_state(args: argparse.Namespace) -> dict[str, Any]:
    """The state in the checkpoint of `--resume`, by the key that the hook looks for; empty without one."""
    saved = (read_checkpoint_args(Path(args.resume)) if args.resume else None) or {}
    return {KEY: saved[STATE]} if STATE in saved else {}


class PlainHook(Hook):
    """The hook of a run that is not re-weighted."""

    def begin_epoch(self, epoch: int, output_dir: str | None = None) -> None:
        """Does nothing."""


class TimmHook:
    """Ends epochs: new weights, numbers for summary.csv, arrays in the output folder, state in the arguments."""

    def __init__(self, args: argparse.Namespace, epochs: EpochHook, class_names: list[str] | None) -> None:
        self._args, self._epochs, self._class_names = args, epochs, class_names

    def begin_epoch(self, epoch: int, output_dir: str | None) -> None:
        """Puts the weights for this epoch in force; `output_dir` is None on all ranks but the first."""
        if output_dir is not None:
            self._epochs.write_to(Path(output_dir))
            if self._class_names is not None:
                with contextlib.suppress(OSError):  # a full disk: each epoch's arrays say so
                    write_class_names(Path(output_dir), self._class_names)
                self._class_names = None  # once
        self._epochs.begin_epoch(epoch)

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training, on every rank; returns the numbers that train.py logs.

        Raises:
            ValueError: when the loop has not called the re-weighted loss: it trained something else.
        """
        statistics = self._epochs.end_epoch(epoch)
        if statistics[f"{KEY}_drawn_alpha"] is None:
            raise ValueError(
                "Expected train.py to train with the loss that `attach` has returned but it was never called: this run "
                "is not re-weighted. Leave train_loss_fn alone after the inserted line, or --reweight out."
            )
        setattr(self._args, STATE, self._epochs.checkpoint()[KEY])
        return statistics
