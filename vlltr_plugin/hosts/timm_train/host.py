"""train.py's numbers, words and files, for reports."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vlltr_plugin.check import CheckResult, Checks
from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.evaluation import EvaluateRequest, Progress, TrainedModel, checkpoint_path
from vlltr_plugin.hosts.host import CheckpointArgs, CheckRequest, Host, Metric, RunFiles, Words, line_of
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args
from vlltr_plugin.runs.log import KEY, Line, Log, read_class_names, shows_reweighting

LOG, ARGUMENTS, CHECKPOINT = "summary.csv", "args.yaml", "model_best.pth.tar"

OF_THE_START = frozenset((f"{KEY}_state", "config", "distributed", "world_size", "rank", "prefetcher"))
"""What train.py adds to its arguments while it runs."""

OVERALL = Metric("overall", "eval_top1", "overall top-1")
GROUP_METRICS = tuple(Metric(name, f"eval_{name}", f"{name}-shot") for name in ("many", "medium", "few"))

WORDS = Words(
    notes=(
        "Epochs count from 0, as in summary.csv; with --model-ema the accuracies are those of the averaged weights, as "
        "there. The best epoch is the first of the best top-1 on the validation set.",
    ),
    epochs_on="validation set",
    times="Times: re-weighting (train_reweight_seconds in summary.csv).",
    no_times="summary.csv tells no training times.",
    settings_from=f"{ARGUMENTS} beside the log",
)


def find_log(folder: Path) -> Path | None:
    """The log of a run's folder; None if there is none."""
    return folder / LOG if (folder / LOG).is_file() else None


def read_log(path: Path) -> Log:
    """The numbers of summary.csv, which a resumed run goes on with under another heading.

    Raises:
        ReportError: it is no summary of train.py, or none of its epochs was validated.
        OSError: it cannot be read.
    """
    epochs: dict[int, Line] = {}
    abandoned: set[int] = set()
    heading: list[str] = []
    warnings = []
    for number, row in enumerate(csv.reader(path.read_text("utf-8", errors="replace").splitlines()), start=1):
        if row[:1] == ["epoch"]:
            heading = row
            continue
        try:
            line = {key: float(value) for key, value in zip(heading, row, strict=True) if value}
            epoch = int(line.pop("epoch"))
        except (ValueError, KeyError):
            warnings.append(f"{path}, line {number}: left out, since it is no whole line of numbers")
            continue
        later = {other for other in epochs if other >= epoch}
        abandoned = (abandoned | later) - {epoch}
        epochs = {known: epochs[known] for known in epochs if known not in later} | {epoch: line}
    if not any(OVERALL.key in line for line in epochs.values()):
        raise ReportError(f"{path}: expected a summary of train.py with {OVERALL.key} but it has none.")
    left = tuple(sorted(abandoned - epochs.keys()))
    return Log(path, epochs, None, tuple(warnings), abandoned=left, reweighted=shows_reweighting(epochs))


def read_run(path: Path) -> RunFiles:
    """Reads a log, and the arguments beside it."""
    log, source = read_log(path), path.with_name(ARGUMENTS)
    try:
        args = read_arguments(source)
    except (OSError, ValueError) as error:
        return RunFiles(log, {}, None, None, (*log.warnings, f"{source}: the arguments were not read ({error})"))
    return RunFiles(log, args, source, None, log.warnings, args_whole=True)


def read_arguments(path: Path) -> dict[str, Any]:
    """The arguments of a run, under the names that all hosts have.

    Raises:
        ValueError: for a file that is no mapping in YAML, or without PyYAML.
        OSError: it cannot be read.
    """
    try:
        import yaml

        args = yaml.safe_load(path.read_text("utf-8"))
    except (ImportError, yaml.YAMLError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(args, dict):
        raise ValueError("expected arguments by name")
    return _named(args)


def _named(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments of train.py under the names that all hosts have."""
    kind, options = args.pop(KEY, None), args.pop(f"{KEY}_opt", None)
    where = args.get("data_dir") or args.get("data")
    args |= {"data_path": where, "data_set": args.get("dataset") or Path(where or "").name}
    args["nb_classes"] = args.pop("num_classes", None)
    return args if kind is None else args | {KEY: {"type": kind, **(options or {})}}


def _args_of_checkpoint(path: Path | None) -> CheckpointArgs:
    try:
        args = read_checkpoint_args(path) if path is not None and path.is_file() else None
    except ValueError as error:
        return None, path, [str(error)]
    known = None if args is None else {name: value for name, value in args.items() if name not in OF_THE_START}
    return None if known is None else _named(known), path, []


def find_checkpoint(request: EvaluateRequest) -> Path:
    """The checkpoint that a request names: of a run's folder the best one.

    Raises:
        FileNotFoundError: there is none.
        ReportError: with a config, which train.py takes as an argument.
    """
    if request.config is not None:
        raise ReportError("Expected no --config for timm: the checkpoint holds its arguments.")
    return checkpoint_path(request.checkpoint, CHECKPOINT)


def _open_trained(request: EvaluateRequest, progress: Progress) -> AbstractContextManager[TrainedModel]:
    from vlltr_plugin.hosts.timm_train.evaluate import open_trained  # torch

    return open_trained(request, progress)


def _check(request: CheckRequest, say: Callable[[CheckResult], None]) -> Checks:
    raise ReportError("Expected another host than timm: train.py --reweight ... makes all checks itself, at its start.")


HOST = Host(
    name="timm",
    title="timm's train.py",
    is_log=lambda head: head.startswith(b"epoch,train_"),
    find_log=find_log,
    read_log=read_log,
    read_run=read_run,
    check=_check,
    overall=OVERALL,
    groups=GROUP_METRICS,
    metrics=(
        OVERALL,
        Metric("overall_top5", "eval_top5", "overall top-5"),
        *GROUP_METRICS,
        Metric("loss", "eval_loss", "loss", percent=False),
        Metric("train_loss", "train_loss", "training loss", percent=False),
    ),
    convention=UPSTREAM,
    logs_groups=False,
    args_of_checkpoint=_args_of_checkpoint,
    class_names=read_class_names,
    open_trained=_open_trained,
    find_checkpoint=find_checkpoint,
    evaluated_line=line_of(
        {"acc1": "eval_top1", "acc5": "eval_top5", "many": "eval_many", "median": "eval_medium", "low": "eval_few"}
    ),
    reweight_seconds=f"train_{KEY}_seconds",
    words=WORDS,
    irrelevant=frozenset(
        (
            *("output", "experiment", "resume", "start_epoch", "data", "data_dir", "data_path", "seed", "device"),
            *("workers", "pin_mem", "log_interval", "checkpoint_hist", "recovery_interval", "local_rank"),
            *("save_images", "log_wandb", "wandb_project", "wandb_resume_id", "wandb_tags", "validation_batch_size"),
        )
    ),
    first=("data_set", "nb_classes", "model", "epochs", "batch_size", "lr", "opt", "smoothing", "mixup", "cutmix"),
)
