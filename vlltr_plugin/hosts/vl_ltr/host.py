"""VL-LTR's metrics, report texts and files; class names from the files of its data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.hosts.evaluation import EvaluateRequest, checkpoint_path
from vlltr_plugin.hosts.host import (
    Host,
    Metric,
    Reference,
    RunFiles,
    Words,
    args_of_checkpoint,
    finds_log,
    later,
    read_references,
)
from vlltr_plugin.hosts.vl_ltr.log import find_stdout_log, read_log

LOG = "log.txt"
CHECKPOINT = "checkpoint.pth"
LEVELS_UP = 5  # levels from a run's folder up to its checkout: checkpoints/<name> is two, users nest deeper
SIZES = {"IMNET_LT": (1000, 115846), "PLACES_LT": (365, 62500), "INAT": (8142, 437513)}
"""Classes and training images of the data sets."""

OVERALL = Metric("overall", "test_acc1", "overall top-1")
GROUP_METRICS = (
    Metric("many", "test_many", "many-shot"),
    Metric("medium", "test_median", "medium-shot"),
    Metric("few", "test_low", "few-shot"),
    Metric("10-shot", "test_10-shot", "10-shot"),
    Metric("5-shot", "test_5-shot", "5-shot"),
)
"""Top-1 accuracy by number of training images of the class; the last two groups are parts of few-shot."""

METRICS = (
    OVERALL,
    Metric("overall_top5", "test_acc5", "overall top-5"),
    Metric("visual", "test_acc0_1", "visual top-1"),
    Metric("visual_top5", "test_acc0_5", "visual top-5"),
    Metric("image_text", "test_acc1_1", "image-text top-1"),
    Metric("image_text_top5", "test_acc1_5", "image-text top-5"),
    *GROUP_METRICS,
    Metric("loss", "test_loss", "loss", percent=False),
    Metric("train_loss", "train_loss", "training loss", percent=False),
)

WORDS = Words(
    notes_with={
        "image_text": "Overall and shot groups use different predictions (upstream's way): overall is scored by a "
        "mixture of the two branches' softmaxes, the groups by the sum of their logits."
    },
    notes=(
        "Epochs count from 0, as in log.txt. The best epoch is the first of the best overall top-1 on the validation "
        "split; the test is of the last epoch.",
    ),
    epochs_on="validation split",
    times="Times: the host's own `Training time` (evaluations included; only where one start ran through all epochs) "
    "and its `Total time` of each training pass, both as printed; re-weighting (train_reweight_seconds in log.txt) "
    "with its share of the training pass.",
    no_times="The logs have no training times: keep what a run prints as train.log beside its log.txt, as upstream's "
    "launcher script does.",
    settings_from="checkpoint.pth or train.log beside the log",
    empty_groups="0.0 in every line of every run, shown as -: {groups}. Upstream writes that for groups without test "
    "images (or none of their images was ever right).",
)


def read_run(log_path: Path) -> RunFiles:
    """Reads a log with the checkpoint and the printed output beside it."""
    log = read_log(log_path)
    stdout = find_stdout_log(log_path.parent)
    args, source, warnings = args_of_checkpoint(log_path.with_name(CHECKPOINT))
    whole = args is not None
    if args is None and stdout is not None and stdout.args:
        args, source = stdout.args, stdout.path
    return RunFiles(log, args or {}, source if args else None, stdout, (*log.warnings, *warnings), whole)


def references() -> dict[str, Reference]:
    """The six references by name, and those of iNaturalist also by its name in the configs."""
    found = read_references(Path(__file__).with_name("published.json"), SIZES)
    inat = {name: one for name, one in found.items() if name.startswith("inat2018")}
    return found | {name.replace("inat2018", "inat18"): one for name, one in inat.items()}


def class_names(start: Path, num_classes: int, folder: str = "") -> list[str] | None:
    """Reads class names from `labels.txt` or `categories.json` below `data/` of the checkout that a path is in."""
    start = start.resolve()
    if folder and (names := _names_in([start / folder], num_classes)):
        return names[0]
    for place in [start, *start.parents][: LEVELS_UP + 1]:
        if (place / "data").is_dir() and (place == start or (place / "main.py").is_file()):
            names = _names_in(sorted((place / "data").iterdir()), num_classes)
            return names[0] if names and all(other == names[0] for other in names) else None
    return None


def _names_in(folders: Sequence[Path], num_classes: int) -> list[list[str]]:
    """Yields the names in each file that has one per class; skips files in other formats."""
    found = []
    for folder, name in product(folders, ("labels.txt", "categories.json")):
        try:
            text = (folder / name).read_text(encoding="utf-8")
            names = _names_of_labels(text) if name == "labels.txt" else [str(one["name"]) for one in json.loads(text)]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue
        if len(names) == num_classes:
            found.append(names)
    return found


def _names_of_labels(text: str) -> list[str]:
    """`<wordnet id> <number> <name>`, numbered in the order of the ids; or `/<letter>/<name> <number>`."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if all(len(row) == 2 for row in rows):
        by_number = {int(number): re.sub(r"^/\w/", "", name) for name, number in rows}
        names = [by_number[number] for number in range(len(by_number))]
    else:
        names = [row[-1] for row in sorted(rows)]
    return [name.replace("_", " ").replace("/", " ").strip() for name in names]


def _find_checkpoint(request: EvaluateRequest) -> Path:
    checkpoint = checkpoint_path(request.checkpoint, CHECKPOINT)
    if request.config is not None:
        config_path(request.config, request.checkout)
    return checkpoint


def config_path(config: Path, checkout: Path) -> Path:
    """The config's path, relative to the current folder or else to the checkout; FileNotFoundError if there is none."""
    for path in (config, checkout / config):
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"Expected a config but there is no file {config}.")


HOST = Host(
    name="vl-ltr",
    title="VL-LTR",
    is_log=lambda head: head.lstrip().startswith((b"{", b"#")),
    find_log=finds_log(LOG),
    read_log=read_log,
    read_run=read_run,
    check=later("vlltr_plugin.hosts.vl_ltr.checks:run_checks"),
    overall=OVERALL,
    groups=GROUP_METRICS,
    metrics=METRICS,
    convention=UPSTREAM,
    reweight_seconds="train_reweight_seconds",
    words=WORDS,
    irrelevant=frozenset(
        (
            *("config", "output_dir", "resume", "start_epoch", "data_path", "seed", "device", "num_workers", "pin_mem"),
            *("eval", "test", "test_p", "select", "debug", "dist_eval", "distributed"),
            *("gpu", "rank", "local_rank", "port", "dist_url", "dist_backend"),
        )
    ),
    first=("data_set", "nb_classes", "model", "epochs", "batch_size", "world_size", "lr", "weight_sample"),
    parameters="n_parameters",
    references=references,
    class_names=class_names,
    open_trained=later("vlltr_plugin.hosts.vl_ltr.evaluate:open_trained"),
    find_checkpoint=_find_checkpoint,
    evaluated_line=lambda numbers: {f"test_{key}": value for key, value in numbers.items() if value is not None},
    args_of_checkpoint=args_of_checkpoint,
)
