"""`attach`: puts class re-weighting into a run of train.py, or leaves it alone."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from torch import nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.timm_train.plan import Plan, plan
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args
from vlltr_plugin.training.hook import EpochHook, NoHook, Statistics
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import say, warnings_said
from vlltr_plugin.training.settings import KEY, SINGLE

STATE = f"{KEY}_state"
"""Attribute of train.py's arguments, which are in each of its checkpoints under `args`."""


def attach_to(
    args: argparse.Namespace, train_loss_fn: nn.Module, model: nn.Module, loader_train: Any, loader_eval: Any
) -> tuple[nn.Module, TimmHook | PlainHook]:
    """What `timm_train.attach` does."""
    with warnings_said():
        planned = plan(args, train_loss_fn, loader_train)
    if planned is None:
        if args.reweight_opt:
            say("there is --reweight-opt but no --reweight: nothing is re-weighted.")
        plain = PlainHook()
        with contextlib.suppress(ReportError, ValueError, OSError):  # of a checkpoint that only train.py has to read
            plain.load(_saved_state(args))
        return train_loss_fn, plain
    say(planned.announcement())
    criterion = HostCriterion(train_loss_fn, {SINGLE: planned.loss}, adjusts=planned.settings.adjusts)
    hook = TimmHook(args, planned, criterion)
    if args.resume:
        hook.load(_saved_state(args))
    return criterion, hook


def _saved_state(args: argparse.Namespace) -> dict[str, Any]:
    """The state in the checkpoint of `--resume`, by the key that the hook looks for; empty without one."""
    saved = (read_checkpoint_args(Path(args.resume)) if args.resume else None) or {}
    return {KEY: saved[STATE]} if STATE in saved else {}


class PlainHook(NoHook):
    """The hook of a run that is not re-weighted."""

    def begin_epoch(self, epoch: int, output_dir: str | None = None) -> None:
        """Does nothing."""


class TimmHook:
    """Ends epochs: new weights, numbers for summary.csv, arrays in the output folder, state in the arguments."""

    def __init__(self, args: argparse.Namespace, planned: Plan, criterion: HostCriterion) -> None:
        self._args = args
        self._hook = EpochHook(planned.settings, criterion)

    def load(self, state: dict[str, Any]) -> None:
        """Takes the state of a run that is resumed."""
        self._hook.load(state)

    def begin_epoch(self, epoch: int, output_dir: str | None) -> None:
        """Puts the weights for this epoch in force; `output_dir` is None on all ranks but the first."""
        if output_dir is not None:
            self._hook.write_to(Path(output_dir))
        self._hook.begin_epoch(epoch)

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training, on every rank; returns the numbers that train.py logs.

        Raises:
            ValueError: when the loop has not called the re-weighted loss: it trained something else.
        """
        statistics = self._hook.end_epoch(epoch)
        if statistics[f"{KEY}_drawn_alpha"] is None:
            raise ValueError(
                "Expected train.py to train with the loss that `attach` has returned but it was never called: this run "
                "is not re-weighted. Leave train_loss_fn alone after the inserted line, or --reweight out."
            )
        setattr(self._args, STATE, self._hook.checkpoint()[KEY])
        return statistics
