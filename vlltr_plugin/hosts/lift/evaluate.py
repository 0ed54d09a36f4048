"""`evaluate` for LIFT: its own main.py builds trainer and data, and the logits come from the trainer's own test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.door import Send
from vlltr_plugin.hosts.evaluation import (
    EvaluateRequest,
    Progress,
    TrainedModel,
    checkpoint_path,
    differences,
    evaluate_in_host,
    evaluation_loader,
    load_checkpoint,
    load_parameters,
    send_split,
)
from vlltr_plugin.hosts.lift.host import CHECKPOINT, HOST
from vlltr_plugin.hosts.lift.log import UNKEPT_OUTPUT, find_log, read_config, read_run
from vlltr_plugin.hosts.lift.trainer import class_counts, draws_of, forward_of, logits_of, number_of_classes

GROUPS = {
    **{"many_idxs": "many", "med_idxs": "medium", "few_idxs": "few"},  # LIFT
    **{"many_classes": "many", "med_classes": "medium", "few_classes": "few"},  # LIFT+
}
"""Names under which the trainers hold the classes of each group."""

HINT = " Give main.py's arguments of that run as --host-args."
MISFIT = "The checkpoint does not fit the model that main.py builds (give its arguments of that run as --host-args)"


def open_trained(request: EvaluateRequest, progress: Progress) -> AbstractContextManager[TrainedModel]:
    """Opens a checkpoint in a process of the host."""
    path = checkpoint_path(request.checkpoint, CHECKPOINT).resolve()
    if request.split not in (None, "test"):
        raise ReportError(f"Expected the split to be test but got {request.split!r}: LIFT has no validation split.")
    read_parts(path)  # before the host builds anything
    return evaluate_in_host(
        request,
        [*request.host_args, *UNKEPT_OUTPUT],
        f"{__name__}:evaluate",
        path,
        progress,
        host="LIFT",
        asked={"device": request.device},
        host_log=host_log,
        environment={"CUDA_VISIBLE_DEVICES": ""} if request.device == "cpu" else {},
    )


def read_parts(path: Path) -> dict[str, dict[str, Tensor]]:
    """Reads the parameters and buffers of `tuner` and `head`, by the part's name in the trainer."""
    saved = load_checkpoint(path, "LIFT")
    if not isinstance(saved, dict) or not saved or not all(map(_is_part, saved.values())):
        raise ReportError(f"{path}: expected the parameters of `tuner` and `head` in the checkpoint but found none.")
    return saved


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, Tensor) for tensor in value.values())


def put_in(trainer: Any, parts: dict[str, dict[str, Tensor]]) -> None:
    """Loads a checkpoint's parameters; ReportError if they do not fit the model, or if trained ones are missing."""
    loaded: set[int] = set()
    for name, state in parts.items():
        part = getattr(trainer, name, None)
        if not isinstance(part, nn.Module):
            raise ReportError(f"Expected the trainer to have the checkpoint's `{name}` but it has no such part.{HINT}")
        load_parameters(part, state, MISFIT)
        loaded |= set(map(id, part.parameters()))
    others = [name for name, own in trainer.model.named_parameters() if own.requires_grad and id(own) not in loaded]
    if others:
        raise ReportError(
            f"Expected the checkpoint to hold all parameters that are trained but {len(others)} are missing "
            f"({others[0]}, ...).{HINT}"
        )


def evaluate(
    trainer: Any, *, send: Send, checkpoint: str, limit: int | None, batch_size: int | None, device: str | None
) -> None:
    """Runs in the host's process when `attach` is called: sends the logits of the trainer's own test."""
    if device not in (None, str(trainer.device), trainer.device.type):
        raise ReportError(
            f"Expected --device cpu, or the one that main.py takes ({trainer.device}), but got {device!r}: give `gpu "
            "NUMBER` in --host-args for another one."
        )
    put_in(trainer, read_parts(Path(checkpoint)))
    host = trainer.test_loader
    if limit is not None or batch_size is not None:
        options = {"batch_size": batch_size or host.batch_size, "num_workers": host.num_workers}
        trainer.test_loader = evaluation_loader(host.dataset, limit, **options)
    send(_describe(trainer, Path(checkpoint).parent))
    send_batch = send_split(send, "test", len(trainer.test_loader.dataset))
    _test(trainer, lambda logits, labels: send_batch([logits], labels))
    send({"split": "test", "images": len(host.dataset)})


def _describe(trainer: Any, folder: Path) -> dict[str, Any]:
    """The description that `evaluate_in_host` expects; `folder` holds the run's log."""
    cfg, classes = trainer.cfg, number_of_classes(trainer)
    names = [str(name) for name in getattr(trainer, "classnames", ())]
    config, trained = read_config(str(cfg).splitlines()), {}
    with contextlib.suppress(ReportError, OSError):
        log = find_log(folder)
        trained = {} if log is None else read_run(log).args
    try:
        counts = class_counts(trainer).numpy()
    except ValueError as error:
        raise ReportError(str(error)) from error
    draws, draws_from = {}, ""
    with contextlib.suppress(ValueError):  # a user's sampler
        draws = {"draws": draws_of(trainer).numpy()}
        draws_from = f"by {type(trainer.train_loader.sampler).__name__} of the training loader"
    groups = {group: getattr(trainer, name) for name, group in GROUPS.items() if hasattr(trainer, name)}
    return {
        "split": "test",
        "classes": classes,
        "names": names if len(names) == classes else None,
        "data_set": str(cfg.dataset),
        "model": str(getattr(cfg, "backbone", "")),
        "device": str(trainer.device),
        "batch_size": trainer.test_loader.batch_size,
        "differs": differences(config, trained, sorted(config.keys() - HOST.irrelevant - {"model_dir"})),
        "counts": counts,
        "draws_from": draws_from,
        **draws,
        **{group: np.atleast_1d(np.asarray(labels, dtype=np.int64)) for group, labels in groups.items()},
    }


class _TestedError(Exception):
    """Ends the host's test before it summarizes: some summaries need images of all classes."""


def _test(trainer: Any, take: Callable[[Tensor, Tensor], None]) -> None:
    """Runs the trainer's own test; calls `take` with the logits and labels that the test passes to its evaluator."""
    # LIFT's is `self.evaluator`; LIFT+ makes one in `test`.
    of_test = getattr(type(trainer).test, "__globals__", {}).get("Evaluator")
    evaluator = type(trainer.evaluator) if hasattr(trainer, "evaluator") else of_test
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


def _test_without_evaluator(trainer: Any, take: Callable[[Tensor, Tensor], None]) -> None:
    """Calls `take` with the model's logits of the test images, averaged over the crops of each image."""
    trainer.model.eval()
    forward, classes = forward_of(trainer), number_of_classes(trainer)
    for images, labels, *_ in trainer.test_loader:
        crops = images.unbind(1) if images.ndim == 5 else [images]
        logits = [logits_of(forward(crop.to(trainer.device)), classes) for crop in crops]
        take(torch.stack(logits).mean(dim=0), labels)


def host_log(groups: dict[str, Any], labels: NDArray[np.int64], top1: NDArray[np.int64]) -> dict[str, float | None]:
    """LIFT's own result on the test set, by the keys of its log; a group's accuracy is the mean over its classes."""
    images = np.bincount(labels, minlength=groups["classes"])
    hits = np.bincount(labels[labels == top1], minlength=len(images))
    tested = images > 0
    accuracy = np.divide(100.0 * hits, images, where=tested, out=np.full(len(images), np.nan))
    known = accuracy[tested]
    found: dict[str, float | None] = {
        "overall": 100.0 * float((labels == top1).mean()),
        "macro": float(known.mean()),
        "harmonic": float(100.0 / np.mean(100.0 / np.maximum(known, 0.001))),
    }
    for group in dict.fromkeys(GROUPS.values()):
        if group in groups:
            inside = accuracy[groups[group]]
            found[group] = float(np.nanmean(inside)) if np.isfinite(inside).any() else None
    return found
