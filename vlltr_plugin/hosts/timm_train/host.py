"""train.py's metrics, report texts and files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.evaluation import EvaluateRequest, checkpoint_path
from vlltr_plugin.hosts.host import (
    CheckpointArgs,
    Host,
    Metric,
    RunFiles,
    Words,
    args_of_checkpoint,
    finds_log,
    later,
    line_of,
)
from vlltr_plugin.runs.log import KEY, EpochLines, Log, read_class_names

LOG, ARGUMENTS, CHECKPOINT = "summary.csv", "args.yaml", "model_best.pth.tar"

OF_THE_START = frozenset((f"{KEY}_state", "config", "distributed", "world_size", "rank", "prefetcher"))
"""Arguments that train.py adds while it runs."""

OVERALL = Metric("overall", "eval_top1", "overall top-1")
GROUP_METRICS = tuple(Metric(name, f"eval_{name}", f"{name}-shot") for name in ("many", "medium", "few"))

WORDS = Words(
    notes=(
        "Epochs count from 0, as in summary.csv; with --model-ema the accuracies are those of the averaged weights, as "
        "there. The best epoch is the first of the best top-1 on the validation set.",
    ),
    epochs_on="validation set",
    times="Times: re-weighting (train_reweight_seconds in summary.csv).",
    no_times="summary.csv has no training times.",
    settings_from=f"{ARGUMENTS} beside the log",
)


def read_log(path: Path) -> Log:
    """Reads summary.csv. A resumed run appends to it under a new header line.

    ReportError for a file that is not a summary of train.py, or has no validated epoch.
    """
    epochs = EpochLines()
    heading: list[str] = []
    warnings = []
    for number, row in enumerate(csv.reader(path.read_text("utf-8", errors="replace").splitlines()), start=1):
        if row[:1] == ["epoch"]:
            heading = row
            continue
        try:
            line = {key: float(value) for key, value in zip(heading, row, strict=True) if value}
            epoch = int(line["epoch"])
            epochs.take(epoch, line | {"epoch": epoch})
        except (ValueError, KeyError):
            warnings.append(f"{path}, line {number}: left out, since it is not a complete line of numbers")
    if not any(OVERALL.key in line for line in epochs.lines.values()):
        raise ReportError(f"{path}: expected a summary of train.py with {OVERALL.key} but it has none.")
    return epochs.log(path, warnings)


def read_run(path: Path) -> RunFiles:
    """Reads a log and the arguments beside it."""
    log, source = read_log(path), path.with_name(ARGUMENTS)
    try:
        args = _read_yaml(source)
    except (ImportError, OSError, ValueError) as error:
        return RunFiles(log, {}, None, None, (*log.warnings, f"{source}: the arguments were not read ({error})"))
    return RunFiles(log, _named(args), source, None, log.warnings, args_whole=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        args = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(args, dict) or not isinstance(args.get(f"{KEY}_opt") or {}, dict):
        raise ValueError(f"expected arguments by name, and {KEY}_opt by name")
    return args


def _named(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments of train.py under the names that all hosts use."""
    kind, options = args.pop(KEY, None), args.pop(f"{KEY}_opt", None)
    where = args.get("data_dir") or args.get("data")
    args |= {"data_path": where, "data_set": args.get("dataset") or Path(where or "").name}
    args["nb_classes"] = args.pop("num_classes", None)
    return args if kind is None else args | {KEY: {"type": kind, **(options or {})}}


def _args_of_checkpoint(path: Path | None) -> CheckpointArgs:
    args, path, warnings = args_of_checkpoint(path)
    if args is not None:
        args = _named({name: value for name, value in args.items() if name not in OF_THE_START})
    return args, path, warnings


def find_checkpoint(request: EvaluateRequest) -> Path:
    """The checkpoint that a request names, in a run's folder the best one; ReportError if a config is given."""
    if request.config is not None:
        raise ReportError("Expected no --config for timm: the checkpoint holds its arguments.")
    return checkpoint_path(request.checkpoint, CHECKPOINT)


HOST = Host(
    name="timm",
    title="timm's train.py",
    is_log=lambda head: head.startswith(b"epoch,train_"),
    find_log=finds_log(LOG),
    read_log=read_log,
    read_run=read_run,
    check=later("vlltr_plugin.hosts.timm_train.checks:run_checks"),
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
    open_trained=later("vlltr_plugin.hosts.timm_train.evaluate:open_trained"),
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
