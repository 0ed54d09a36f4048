"""A checkpoint of the host, and the model and data that it belongs to, built by the host's own code."""

import argparse
import contextlib
import io
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checkout_modules import said_by_host
from vlltr_plugin.runs.checkpoint_args import load_safely
from vlltr_plugin.training.settings import KEY

MATTER = "model data_set data_path desc_path input_size clip_ms sent_length context_length cls_token_length two_branch"
"""The host's arguments that change what is evaluated."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file of the host holds.

    Attributes:
        model: the parameters and buffers.
        epoch: the epoch after which it was saved, from 0; None if it does not say.
        args: the host's arguments of that run; empty if it does not say.
        reweight: the state of a re-weighting, not looked at; None without one.
    """

    model: dict[str, Tensor]
    epoch: int | None
    args: dict[str, Any]
    reweight: Any = None


@dataclass(frozen=True)
class HostRun:
    """A model of the host, ready to evaluate.

    Attributes:
        args: the host's arguments.
        model: in eval mode, on the device, with the checkpoint's parameters.
        train_labels: labels of the training images.
        dataset: the split.
        classes: C.
    """

    args: argparse.Namespace
    model: nn.Module
    train_labels: list[int]
    dataset: Any
    classes: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Loads a checkpoint without running anything in it.

    Raises:
        ReportError: when it holds other objects, is broken, or has no parameters.
        OSError: when it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint but there is no file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on odd pickles; the error below says what matters
            saved = load_safely(path)
    except pickle.UnpicklingError as error:
        raise ReportError(
            f"{path}: not loaded, because it holds objects that could run code, or is no checkpoint at all."
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ReportError(f"{path}: expected a checkpoint of VL-LTR but could not read it: is it whole?") from error
    state = saved.get("model", saved) if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReportError(f"{path}: expected `model`, the parameters, in the checkpoint but found none.")
    args = saved.get("args")
    epoch = saved.get("epoch")
    return Checkpoint(
        model=state,
        epoch=epoch if isinstance(epoch, int) else None,
        args=dict(vars(args)) if isinstance(args, argparse.Namespace) else {},
        reweight=saved.get(KEY) if state is not saved else None,
    )


def host_args(modules: dict[str, ModuleType], config: Path, device: str, more: list[str]) -> argparse.Namespace:
    """The host's arguments: its own parser's, then the config's over them, as in a run of `main.py`.

    Raises:
        ReportError: when the host's parser refuses, or the config is of the pre-training stage.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = modules["main"].get_args_parser().parse_args(["--config", str(config), "--device", device, *more])
    except SystemExit as error:
        last = said.getvalue().strip().rpartition("\n")[2]
        raise ReportError(f"The host's own parser refused its arguments ({last}).") from error
    assert isinstance(args, argparse.Namespace)
    with said_by_host("reading the config"):
        modules["utils"].update_from_config(args)
    if getattr(args, "pretrain_cvlp", False):
        raise ReportError(f"{config}: expected a config of the recognition stage but it is of the pre-training stage.")
    args.distributed, args.device = False, device
    return args


def build(modules: dict[str, ModuleType], args: argparse.Namespace, split: str, checkpoint: Checkpoint) -> HostRun:
    """Builds data sets and model with the host's code, and puts the checkpoint's parameters in.

    Raises:
        ReportError: when the host's code fails, or the parameters do not fit the model.
    """
    with said_by_host("building the data sets"):
        train, args.nb_classes = modules["datasets"].build_dataset(split="train", args=args)
        dataset, _ = modules["datasets"].build_dataset(split=split, args=args)
    model = build_model(args, train)
    put_in(model, checkpoint)
    model.eval()
    return HostRun(args, model, list(train.targets), dataset, int(args.nb_classes))


def build_model(args: argparse.Namespace, train: Any) -> nn.Module:
    """The config's model, built by the host's code, on the device.

    Raises:
        ReportError: when the host's code fails.
    """
    from timm.models import create_model

    with said_by_host("building the model"):
        model: nn.Module = create_model(
            args.model,
            pretrained=getattr(args, "pretrained", False),
            num_classes=args.nb_classes,
            drop_rate=getattr(args, "drop", None),
            drop_path_rate=getattr(args, "drop_path", None),
            drop_block_rate=None,
            dataset=train,
            args=args,
        )
        model.to(args.device)  # the host's own `to` returns nothing
    return model


def differences(here: argparse.Namespace, checkpoint: Checkpoint) -> dict[str, dict[str, str]]:
    """Where the arguments that matter differ from those that the checkpoint was trained with; values by `repr`."""
    return {
        key: {"here": repr(getattr(here, key)), "training": repr(checkpoint.args[key])}
        for key in MATTER.split()
        if key in checkpoint.args and hasattr(here, key) and getattr(here, key) != checkpoint.args[key]
    }


def put_in(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Loads a checkpoint's parameters.

    Raises:
        ReportError: when they do not fit the model.
    """
    try:
        result = model.load_state_dict(checkpoint.model, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ReportError(f"The checkpoint does not fit the config's model: {reason}") from error
    wrong = [f"{len(keys)} {what} ({keys[0]}, ...)" for what, keys in _misfits(result) if keys]
    if wrong:
        raise ReportError(
            f"The checkpoint does not fit the config's model, parameters are {' and '.join(wrong)}: "
            "give the config that it was trained with."
        )


def _misfits(result: Any) -> tuple[tuple[str, list[str]], ...]:
    return ("missing", result.missing_keys), ("left over", result.unexpected_keys)
