"""Numbers, words and files of a recorded run, for reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vlltr_plugin.check.lines import Line, Lines
from vlltr_plugin.core.epoch_statistics import LOGGED, SECONDS
from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import CheckRequest, Host, Metric, Words
from vlltr_plugin.hosts.own_loop.log import find_log, read_log, read_run
from vlltr_plugin.runs.log import Line as LogLine
from vlltr_plugin.runs.own_log import SETTINGS, SHOT_GROUPS, read_class_names

TOLD = ("nb_classes", "training images", "class counts", "draws", "draws of the classes", "loss", "smoothing")
"""What a criterion of the plug-in's tells, beside `reweight`."""

OVERALL = Metric("overall", "overall", "overall top-1")
GROUP_METRICS = tuple(Metric(name, name, f"{name}-shot") for name in ("many", "medium", "few"))

WORDS = Words(
    notes=(
        "Epochs count from 0. Accuracies are those that the loop gave to recorder.end_epoch; the best epoch is the "
        "first of the best `overall`.",
    ),
    epochs_on="loop's own images",
    times="Times: re-weighting (train_reweight_seconds in log.txt).",
    no_times="The log tells no training times.",
    settings_from=f"{SETTINGS} beside the log",
    only_known=" and that the runs recorded. Others, such as learning rate or mixup, were not compared unless "
    "RunRecorder(..., settings={...}) noted them",
)


def _class_names(start: Path, num_classes: int) -> list[str] | None:
    return read_class_names(start if start.is_dir() else start.parent, num_classes)


def _evaluated_line(numbers: dict[str, float | None]) -> LogLine:
    keys = {"acc1": "overall", "many": "many", "median": "medium", "low": "few"}
    return {keys[key]: value for key, value in numbers.items() if key in keys and value is not None}


def _check(request: CheckRequest, say: Callable[[Line], None]) -> Lines:
    raise ReportError("Expected a checkout of a host to check but got a loop of your own.")


HOST = Host(
    name="own-loop",
    title="a loop of your own",
    wrote=lambda head: head.startswith(b'{"epoch"'),
    beside=SETTINGS,
    find_log=find_log,
    read_log=read_log,
    read_run=read_run,
    check=_check,
    overall=OVERALL,
    groups=GROUP_METRICS,
    metrics=(OVERALL, *GROUP_METRICS, Metric("loss", "loss", "loss", percent=False)),
    convention=UPSTREAM,
    groups_setting=SHOT_GROUPS,
    class_names=_class_names,
    evaluated_line=_evaluated_line,
    reweight_seconds=f"{LOGGED}{SECONDS}",
    words=WORDS,
    irrelevant=frozenset({"seed"}),
    first=(SHOT_GROUPS, *TOLD),
    unsaid=frozenset(TOLD),  # a loss of the loop's own has some of them, too
)
