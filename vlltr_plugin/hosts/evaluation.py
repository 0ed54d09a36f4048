"""Evaluating a host's trained model: the interface to `report/evaluate`, and logits from the host's process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.checkpoint_args import load_safely
from vlltr_plugin.runs.files import sha256

if TYPE_CHECKING:  # `compare` reads logs without torch
    from torch import Tensor
    from torch.utils.data import DataLoader

    from vlltr_plugin.hosts.door import Message, Send

Progress = Callable[[int, int], None]
"""Called with the images done and in all, after each batch."""


@dataclass(frozen=True)
class EvaluateRequest:
    """Arguments of `vlltr-plugin evaluate`."""

    checkpoint: Path  # checkpoint file or run folder
    config: Path | None = None  # None uses the config that the checkpoint names
    checkout: Path = Path()
    split: str | None = None  # "val" or "test"; None uses the split that the host reports with this config
    device: str | None = None  # None uses CUDA if available
    batch_size: int | None = None  # None uses the host's
    limit: int | None = None  # evaluate this many images, evenly spaced over the split
    host_args: tuple[str, ...] = ()


class Collector(Protocol):
    """Takes a model's outputs batch by batch."""

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch: logits `[B, C]`, or those of two outputs; labels `[B]`."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with its data; usable while the host's process runs."""

    split: str  # to evaluate
    classes: int  # C
    train_counts: NDArray[np.int64]  # training images of each class, [C]
    draws: NDArray[np.float64] | None  # expected draws of each class in training, [C], up to a factor; None if unknown
    draws_from: str  # source of the draws, in words
    names: list[str] | None  # of the classes
    facts: dict[str, Any]  # entries of evaluation.json on checkpoint, config, data set and settings
    # Passes the outputs of a split to a Collector and returns the split's number of images; call it with `split` first.
    predict: Callable[[Collector, str], int]
    outputs: tuple[str, ...] = ()  # names of the model's two outputs; empty if it has one
    first_share: float = 0.0  # weight of the first of two outputs in the mixture of their softmaxes
    host_log: Callable[[NDArray[np.int64], NDArray[np.int64]], dict[str, float | None]] | None = None
    """From labels and predicted classes, [N] each, the host's own result by the keys of its log; None where
    `evaluate_predictions` has it."""


OpenTrained = Callable[[EvaluateRequest, Progress], AbstractContextManager[TrainedModel]]


def checkpoint_path(path: Path, name: str) -> Path:
    """The checkpoint that a path names: the file itself, or the one in a run's folder."""
    file = path / name if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"Expected a run's folder with {name}, or a checkpoint, but there is no file {file}.")
    return file


def load_checkpoint(path: Path, host: str) -> Any:
    """Loads a checkpoint without running code in it; ReportError if it holds objects that need code, or is damaged."""
    try:
        return load_safely(path)
    except pickle.UnpicklingError as error:
        raise ReportError(
            f"{path}: not loaded, because it holds objects that could run code, or is not a checkpoint."
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ReportError(
            f"{path}: expected a checkpoint of {host} but could not read it: it is incomplete or damaged."
        ) from error


def load_parameters(module: Any, state: dict[str, Tensor], misfit: str, strict: bool = True) -> Any:
    """Calls `load_state_dict` and returns its result; if it fails, raises a ReportError that begins with `misfit`."""
    try:
        return module.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ReportError(f"{misfit}: {reason}") from error


def differences(here: Mapping[str, Any], there: Mapping[str, Any], keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Settings that differ between the evaluation and the training; values as `repr`."""
    return {
        key: {"here": repr(here[key]), "training": repr(there[key])}
        for key in keys
        if key in here and key in there and here[key] != there[key]
    }


@contextmanager
def evaluate_in_host(
    request: EvaluateRequest,
    arguments: list[str],
    task: str,
    checkpoint: Path,
    progress: Progress,
    *,
    host: str,
    config: Path | None = None,
    asked: Mapping[str, Any] = MappingProxyType({}),
    host_log: Callable[..., dict[str, float | None]] | None = None,
    **door: Any,
) -> Iterator[TrainedModel]:
    """Opens a model in the host's process. `task` first sends a description of the model, then splits by `send_split`.

    The task receives the checkpoint's path, `batch_size`, `limit` and the entries of `asked`; `door` is passed to
    `open_host`.
    """
    from vlltr_plugin.hosts.door import open_host

    path = checkpoint.resolve()
    config_file: dict[str, str | None] = {"file": None, "sha256": None}
    if config is not None:
        config_file = {"file": str(request.config or config), "sha256": sha256(config)}
    limits = {"checkpoint": str(path), "batch_size": request.batch_size, "limit": request.limit}
    with open_host(request.checkout.resolve(), arguments, (task, {**limits, **asked}), **door) as messages:
        model: Message = {"outputs": (), "first_share": 0.0, "epoch": None, **next(messages)}
        outputs = tuple(model["outputs"])
        keys = {"model": model["model"], "two_branch": len(outputs) == 2, "device": model["device"]}
        settings = keys | {"batch_size": model["batch_size"], "host_args": list(request.host_args)}
        yield TrainedModel(
            split=model["split"],
            classes=model["classes"],
            train_counts=model["counts"].astype(np.int64),
            draws=model.get("draws"),
            draws_from=model["draws_from"],
            names=model["names"],
            facts={
                "checkpoint": {"file": str(checkpoint), "sha256": sha256(path), "epoch": model["epoch"]},
                "config": config_file,
                "data_set": model["data_set"],
                "settings": settings,
                "differs_from_training": model["differs"],
            },
            predict=partial(_predict, messages, model.get("splits", [model["split"]]), host, progress),
            outputs=outputs,
            first_share=model["first_share"],
            host_log=None if host_log is None else partial(host_log, model),
        )


def _predict(
    messages: Iterator[Message], splits: list[str], host: str, progress: Progress, collector: Collector, split: str
) -> int:
    import torch

    if split not in splits:
        raise ReportError(f"Expected the split to be {splits[0]} but got {split!r}: {host} has no validation split.")
    done = total = 0
    for message in messages:
        if message["split"] != split:
            continue
        if "images" in message:
            return int(message["images"])
        if "labels" in message:
            logits = [torch.from_numpy(message[f"logits_{number}"]) for number in range(message["outputs"])]
            collector.add(logits[0] if len(logits) == 1 else tuple(logits), torch.from_numpy(message["labels"]))
            done += len(message["labels"])
        total = message.get("total", total)
        progress(done, total)
    raise ReportError(f"Expected the logits of the {split} split but {host} has sent none.")


def evaluation_loader(dataset: Any, limit: int | None, **options: Any) -> DataLoader[Any]:
    """Runs in the host's process: returns a loader of `limit` images, evenly spaced over a data set."""
    from torch.utils.data import DataLoader, Subset

    whole = len(dataset)
    number = min(limit or whole, whole)
    return DataLoader(Subset(dataset, [position * whole // number for position in range(number)]), **options)


def send_split(send: Send, split: str, total: int) -> Callable[[list[Tensor], Tensor], None]:
    """Runs in the host's process: begins a split and returns a function that sends a batch of logits and labels.

    Send `{"split": split, "images": number of images in the whole split}` after the last batch.
    """
    import torch

    def send_batch(outputs: list[Tensor], labels: Tensor) -> None:
        logits = [output.float() if output.dtype is torch.bfloat16 else output for output in outputs]
        arrays = {f"logits_{number}": output.detach().cpu().numpy() for number, output in enumerate(logits)}
        send({"split": split, "outputs": len(outputs), "labels": labels.detach().cpu().numpy(), **arrays})

    send({"split": split, "total": total})
    return send_batch


def send_logits(
    send: Send, split: str, loader: Iterable[Any], forward: Callable[[Tensor], Any], *, total: int, images: int
) -> None:
    """Runs in the host's process: sends the outputs for the `total` images of a loader (`images` in the split)."""
    import torch

    send_batch = send_split(send, split, total)
    with torch.no_grad():
        for inputs, labels, *_ in loader:
            outputs = forward(inputs)
            send_batch([outputs] if isinstance(outputs, torch.Tensor) else list(outputs), labels)
    send({"split": split, "images": images})
