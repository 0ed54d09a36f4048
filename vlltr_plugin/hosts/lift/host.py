"""LIFT's metrics, report texts and files."""

from __future__ import annotations

from pathlib import Path

from vlltr_plugin.core.shot_groups import OTHERS
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.evaluation import EvaluateRequest, checkpoint_path
from vlltr_plugin.hosts.host import Host, Metric, Words, later, read_references
from vlltr_plugin.hosts.lift.log import find_log, is_log, read_run
from vlltr_plugin.runs.log import Line

CHECKPOINT = "checkpoint.pth.tar"

SIZES = {"ImageNet_LT": (1000, 115846), "Places_LT": (365, 62500)} | {
    f"CIFAR100_IR{ir}": (100,) for ir in (10, 50, 100)
}
"""Classes, and training images of the lists, of the data sets with published numbers."""

OVERALL = Metric("overall", "overall", "overall top-1")
GROUP_METRICS = tuple(Metric(name, name, f"{name}-shot") for name in ("many", "medium", "few"))

WORDS = Words(
    notes=(
        "LIFT's own result on the test set, after the last epoch. Many-shot classes have more than 100 training "
        "images, few-shot ones fewer than 20 (CIFAR-100's, whatever the run's imbalance, counted at 100); a group's "
        "accuracy is the mean over its classes.",
        "Epochs count from 0 here, from 1 in LIFT's log. It has no validation split.",
    ),
    epochs_on="test set",
    times="Times: LIFT's own `Time elapsed` (without the test) and its mean time of a batch, both as printed; "
    "re-weighting (reweight_seconds in its log) with its share of the training pass.",
    no_times="The logs have no training times: LIFT prints them at the end, and with the batches (print_freq).",
    settings_from="config in the log",
)


def _evaluated_line(numbers: dict[str, float | None]) -> Line:
    """LIFT's own numbers; for an evaluation of stored logits, the numbers that LIFT has a key for."""
    named = {"acc1": "overall", "median": "medium", "low": "few"}
    line = {named.get(key, key): value for key, value in numbers.items() if value is not None}
    return {metric.key: line[metric.key] for metric in HOST.metrics if metric.key in line}


def _find_checkpoint(request: EvaluateRequest) -> Path:
    if request.config is not None:
        raise ReportError("Expected no --config for LIFT: give main.py's arguments as --host-args.")
    return checkpoint_path(request.checkpoint, CHECKPOINT)


HOST = Host(
    name="lift",
    title="LIFT",
    is_log=is_log,
    find_log=find_log,
    read_log=lambda path: read_run(path).log,
    read_run=read_run,
    check=later("vlltr_plugin.hosts.lift.checks:run_checks"),
    overall=OVERALL,
    groups=GROUP_METRICS,
    metrics=(
        OVERALL,
        *GROUP_METRICS,
        Metric("macro", "macro", "mean over classes"),
        Metric("harmonic", "harmonic", "harmonic mean"),
        Metric("train_loss", "train_loss", "training loss", percent=False),
    ),
    convention=OTHERS,
    class_means=True,
    evaluated_line=_evaluated_line,
    reweight_seconds="reweight_seconds",
    words=WORDS,
    irrelevant=frozenset(("output_dir", "root", "print_freq", "seed", "gpu", "num_workers")),
    optional=frozenset(("model", "nb_classes")),  # an evaluation names them, the log does not
    first=("data_set", "backbone", "num_epochs", "batch_size", "lr", "loss_type"),
    open_trained=later("vlltr_plugin.hosts.lift.evaluate:open_trained"),
    find_checkpoint=_find_checkpoint,
    references=lambda: read_references(Path(__file__).with_name("published.json"), SIZES),
    default_form=lambda args: "logit_adjustment" if args.get("loss_type") == "LA" else "loss_weight",
)
