"""`attach` adds class re-weighting to a run of train.py, if the run asks for it."""

from __future__ import annotations

import argparse
import ast
import contextlib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlltr_plugin.core.base_losses import BaseLoss, SigmoidLosses, SoftmaxLosses
from vlltr_plugin.core.criterion import ReweightedLoss
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import enter
from vlltr_plugin.hosts.plan import Plan, check_base_loss, make_criteria
from vlltr_plugin.hosts.timm_train.data import class_names_of, counts_and_draws
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args
from vlltr_plugin.runs.log import write_class_names
from vlltr_plugin.training.hook import NOT_CALLED, EpochHook, Hook, Statistics
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import KEY, parse

STATE = f"{KEY}_state"
"""Attribute of train.py's arguments, which train.py saves in each checkpoint under `args`."""


VIEWS = "shows the loss several views of each image, which would count as several images in the radii"
REFUSED = {
    "jsd_loss": f"{VIEWS}, and adds a term between them that has no label to weight",
    "aug_splits": VIEWS,
    "naflex_loader": "draws images in batches whose shares of the classes are not known",
    "bce_target_thresh": "rounds the targets to 0 or 1, which hides smoothing and mixup",
    "bce_pos_weight": "already weights the positive term of each class",
}
"""Arguments of train.py that cannot be combined with re-weighting, and why."""


class MeanSigmoidLosses(SigmoidLosses):
    """Sigmoid cross entropy averaged over the classes, as in `--bce-loss` without `--bce-sum`."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits to losses, both `[B, C]`."""
        return super().__call__(logits) / logits.shape[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--reweight` and `--reweight-opt` to the parser of train.py; a YAML file of `--config` can set them too."""
    group = parser.add_argument_group("Class re-weighting (vlltr-plugin)")
    group.add_argument("--reweight", metavar="TYPE", help="type of class weights, for example class_volume or inverse")
    group.add_argument(
        "--reweight-opt", metavar="KEY=VALUE", nargs="+", default={}, action=_Options,
        help="their options, for example min_samples=30 form=logit_adjustment",
    )  # fmt: skip


class _Options(argparse.Action):
    """Collects `key=value` arguments; values are Python literals, else text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        try:
            found = dict(_options(getattr(namespace, self.dest)))  # those of `--config`
        except ValueError as error:
            parser.error(str(error))
        for text in values:
            key, equals, value = text.partition("=")
            if not (key and equals):
                parser.error(f"argument {option}: expected KEY=VALUE but got {text!r}")
            try:
                found[key] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                found[key] = value
        setattr(namespace, self.dest, found)


def _options(found: Any) -> dict[str, Any]:
    """Options by name, none if the YAML file leaves them empty; ValueError for anything else."""
    if isinstance(found or {}, dict):
        return found or {}
    raise ValueError(
        f"Expected {KEY}_opt in the YAML file of --config to be options by name, such as {{min_samples: 30}}, but got "
        f"{found!r}."
    )


def attach(
    args: argparse.Namespace, train_loss_fn: nn.Module, model: nn.Module, loader_train: Any, loader_eval: Any
) -> tuple[nn.Module, TimmHook | PlainHook]:
    """Wraps the training loss and returns it with the epoch hook.

    Without `--reweight` it returns the loss itself and a hook that does nothing. All checks that are possible before
    training run here, before train.py writes anything.

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
    parts = {"train_loss_fn": train_loss_fn, "loader_train": loader_train, "loader_eval": loader_eval}
    enter({"args": args, "model": model, **parts})
    with print_warnings():
        planned = plan(args, train_loss_fn, loader_train)
    if planned is None:
        if args.reweight_opt:
            info("there is --reweight-opt but no --reweight: nothing is re-weighted.")
        with contextlib.suppress(ReportError, ValueError, OSError):  # train.py itself reports an unreadable checkpoint
            if _saved_state(args):
                info(
                    "the checkpoint of --resume holds a re-weighting state, but there is no --reweight: weights are 1."
                )
        return train_loss_fn, PlainHook()
    planned.announce()
    criterion, epochs = apply(planned, args, train_loss_fn)
    return criterion, TimmHook(args, epochs, class_names_of(loader_train.dataset, args.num_classes))


def apply(planned: Plan, args: argparse.Namespace, train_loss_fn: nn.Module) -> tuple[HostCriterion, EpochHook]:
    """The re-weighted loss and its hook, with the state of `--resume`; ValueError if that does not fit."""
    criterion, epochs = planned.apply(train_loss_fn)
    if args.resume:
        epochs.load(_saved_state(args))
    return criterion, epochs


def plan(args: argparse.Namespace, train_loss_fn: nn.Module, loader: Any) -> Plan | None:
    """Makes all checks that are possible before training; ValueError says what to change. None without --reweight."""
    if args.reweight is None:
        return None
    for name, reason in REFUSED.items():
        if getattr(args, name, None) not in (None, False, 0):
            raise ValueError(
                f"Expected no --{name.replace('_', '-')} with --reweight, since it {reason}: leave one of them out."
            )
    settings = parse({"type": args.reweight, **_options(args.reweight_opt)})
    if settings.source != "stream":
        raise ValueError(f"Expected source=stream in --reweight-opt but got {settings.source!r}.")
    base: BaseLoss = SoftmaxLosses()
    equation = "softmax cross entropy"
    if getattr(args, "bce_loss", False):
        if settings.adjusts:
            raise ValueError("Expected form=loss_weight with --bce-loss: logit adjustment is of softmax cross entropy.")
        equation = "sigmoid cross entropy"
        base = SigmoidLosses() if getattr(args, "bce_sum", False) else MeanSigmoidLosses()
    expected = ReweightedLoss(Uniform([1] * args.num_classes), base, args.smoothing)
    check_base_loss(train_loss_fn, expected, "the training loss", equation, mixed=mixes(args), device=args.device)
    counts, draws = counts_and_draws(loader, args.num_classes)
    criteria = make_criteria(settings, counts, draws, smoothing=args.smoothing, base=base)
    return Plan(settings, criteria, args.epochs, at_once=settings.adjusts)


def mixes(args: argparse.Namespace) -> bool:
    """True if the run mixes labels."""
    return bool(args.mixup > 0 or args.cutmix > 0 or args.cutmix_minmax is not None)


def _saved_state(args: argparse.Namespace) -> dict[str, Any]:
    """The state in the checkpoint of `--resume`, under the key that the hook expects; empty without one."""
    saved = (read_checkpoint_args(Path(args.resume)) if args.resume else None) or {}
    return {KEY: saved[STATE]} if STATE in saved else {}


class PlainHook(Hook):
    """The hook of a run that is not re-weighted."""

    def begin_epoch(self, epoch: int, output_dir: str | None = None) -> None:
        """Does nothing."""


class TimmHook:
    """The epoch hook of train.py: updates weights, writes arrays, stores its state in the arguments."""

    def __init__(self, args: argparse.Namespace, epochs: EpochHook, class_names: list[str] | None) -> None:
        self._args, self._epochs, self._class_names = args, epochs, class_names

    def begin_epoch(self, epoch: int, output_dir: str | None) -> None:
        """Applies the weights for this epoch; `output_dir` is None on all ranks but the first."""
        if output_dir is not None:
            self._epochs.write_to(Path(output_dir))
            if self._class_names is not None:
                with contextlib.suppress(OSError):  # for example a full disk: writing the arrays reports it
                    write_class_names(Path(output_dir), self._class_names)
                self._class_names = None  # once
        self._epochs.begin_epoch(epoch)
        self._store()  # for the recovery checkpoints of a resumed run's first epoch

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch on all ranks; returns numbers for train.py's log. ValueError if the loss was never called."""
        statistics = self._epochs.end_epoch(epoch)
        if statistics[f"{KEY}_drawn_alpha"] is None:
            raise ValueError(NOT_CALLED)
        self._store()
        return statistics

    def _store(self) -> None:
        setattr(self._args, STATE, self._epochs.checkpoint()[KEY])
