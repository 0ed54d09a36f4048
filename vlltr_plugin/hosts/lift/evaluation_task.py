"""What `evaluate` does in LIFT's own process, where `attach` is called: the trainer's own test, its logits kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.lift.checkpoint import put_in, read_parts
from vlltr_plugin.hosts.lift.plan import number_of_classes
from vlltr_plugin.hosts.lift.trainer import draws_of, forward_of, logits_of
from vlltr_plugin.training.draws import class_counts_of

GROUPS = {"many": ("many_idxs", "many_classes"), "medium": ("med_idxs", "med_classes"),
          "few": ("few_idxs", "few_classes")}  # fmt: skip
"""Names under which the trainers of LIFT and LIFT+ hold the classes of each group."""


def evaluate(
    trainer: Any,
    send: Send,
    *,
    checkpoint: str,
    out: str,
    limit: int | None,
    batch_size: int | None,
    device: str | None,
) -> None:
    """Tests a checkpoint and writes logits, labels, training counts, expected draws and groups as an .npz."""
    if device not in (None, str(trainer.device), trainer.device.type):
        raise ReportError(
            f"Expected --device cpu, or the one that main.py takes ({trainer.device}), but got {device!r}: give `gpu "
            "NUMBER` in --host-args for another one."
        )
    put_in(trainer, read_parts(Path(checkpoint)))
    whole = len(trainer.test_loader.dataset)
    trainer.test_loader = loader = _loader(trainer.test_loader, limit, batch_size)
    images, done = len(loader.dataset), 0
    batches: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def take(logits: Tensor, labels: Tensor) -> None:
        nonlocal done
        batches.append((_numpy(logits), _numpy(labels)))
        done += len(labels)
        send({"done": done, "total": images})

    send({"done": done, "total": images})
    _test(trainer, take)
    classes = number_of_classes(trainer)
    arrays, facts = _training(trainer, classes)
    logits, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    arrays |= {"logits": logits, "labels": labels} | _groups(trainer)
    np.savez(out, allow_pickle=False, **arrays)
    cfg = trainer.cfg
    facts |= {"split_images": whole, "classes": classes, "config": str(cfg), "data_set": str(cfg.dataset)}
    facts |= {"model": str(getattr(cfg, "backbone", "")), "device": str(trainer.device)}
    names = [str(name) for name in getattr(trainer, "classnames", ())]
    send({"facts": facts | {"batch_size": loader.batch_size, "names": names if len(names) == classes else None}})


def _loader(loader: Any, limit: int | None, batch_size: int | None) -> Any:
    """The host's own, or one of part of its images or of other batches."""
    if limit is None and batch_size is None:
        return loader
    whole = len(loader.dataset)
    number = min(limit or whole, whole)
    images = Subset(loader.dataset, [position * whole // number for position in range(number)])
    return DataLoader(images, batch_size or loader.batch_size, num_workers=loader.num_workers)


class _TestedError(Exception):
    """Ends the host's test where it would sum up: some of its sums need images of all classes."""


def _test(trainer: Any, take: Callable[[Tensor, Tensor], None]) -> None:
    """Runs the trainer's own test; `take` gets the logits and labels that it gives to its evaluator."""
    evaluator = _evaluator_of(trainer)
    with torch.no_grad():
        if evaluator is None:
            return _test_without_evaluator(trainer, take)

        def process(self: Any, logits: Tensor, labels: Tensor) -> None:
            take(logits, labels)

        def evaluate(self: Any, *args: Any, **kwargs: Any) -> None:
            raise _TestedError

        evaluator.process, evaluator.evaluate = process, evaluate  # this process ends right after
        with contextlib.suppress(_TestedError):
            trainer.test()


def _evaluator_of(trainer: Any) -> Any:
    """The class of LIFT's `self.evaluator`, or the one that LIFT+ makes in `test`; None if there is none."""
    if hasattr(trainer, "evaluator"):
        return type(trainer.evaluator)
    return getattr(type(trainer).test, "__globals__", {}).get("Evaluator")


def _test_without_evaluator(trainer: Any, take: Callable[[Tensor, Tensor], None]) -> None:
    """The model on the test images, the mean over the crops of each."""
    trainer.model.eval()
    forward, classes = forward_of(trainer), number_of_classes(trainer)
    for images, labels, *_ in trainer.test_loader:
        crops = images.unbind(1) if images.ndim == 5 else [images]
        logits = [logits_of(forward(crop.to(trainer.device)), classes) for crop in crops]
        take(torch.stack(logits).mean(dim=0), labels)


def _training(trainer: Any, classes: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Training images of each class, and their expected draws if they are known; where these are known from."""
    labels = getattr(trainer.train_loader.dataset, "labels", None)
    if labels is None:
        raise ReportError("Expected the training set to hold one label an image as `labels`, as LIFT's do.")
    counts = class_counts_of(labels, classes).numpy()
    try:
        draws = draws_of(trainer.train_loader, labels, classes).numpy()
    except ValueError:  # a sampler of the user's own
        return {"counts": counts}, {"draws_from": ""}
    source = f"by {type(trainer.train_loader.sampler).__name__} of the training loader"
    return {"counts": counts, "draws": draws}, {"draws_from": source}


def _groups(trainer: Any) -> dict[str, NDArray[np.int64]]:
    """The classes of the trainer's own groups, where it has them."""
    found = {}
    for group, names in GROUPS.items():
        for name in names:
            if hasattr(trainer, name):
                found[group] = np.atleast_1d(np.asarray(getattr(trainer, name), dtype=np.int64))
    return found


def _numpy(tensor: Tensor) -> NDArray[Any]:
    wide = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return wide.detach().cpu().numpy()
