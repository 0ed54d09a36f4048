"""A user's own training loop, recorded by `RunRecorder`: its log, metrics and report texts."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path

from vlltr_plugin.check import CheckResult, Checks
from vlltr_plugin.core.epoch_statistics import LOGGED, SECONDS
from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import CheckRequest, Host, Metric, RunFiles, Words, finds_log, line_of
from vlltr_plugin.runs.files import whole_objects
from vlltr_plugin.runs.log import (
    LOG,
    METRICS,
    SETTINGS,
    SHOT_GROUPS,
    EpochLines,
    Log,
    epoch_of,
    read_class_names,
    read_settings,
)

KEYS = dict(zip(METRICS, ("test_acc1", "test_many", "test_median", "test_low", "test_loss"), strict=True))
"""Metrics by their keys in report.json; older logs use the same keys."""

ACCURACIES = frozenset(key for name, key in KEYS.items() if name != "loss")


def read_run(path: Path) -> RunFiles:
    """Reads a log, and the settings beside it; ReportError if it is no log of a recorded run, or has no `overall`."""
    log, source, settings = read_log(path), path.with_name(SETTINGS), read_settings(path.parent)
    damaged = () if settings is not None else (f"{source}: no JSON object of settings: left out",)
    known = source if settings else None
    return RunFiles(log, settings or {}, known, None, (*log.warnings, *damaged), args_whole=bool(settings))


def read_log(path: Path) -> Log:
    """The numbers alone."""
    epochs, warnings = EpochLines(own_loop=True), []
    for number, text in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found, cut = whole_objects(text.decode())
            for values in found:
                line = {KEYS.get(key, key): value for key, value in values.items() if type(value) in (int, float)}
                epochs.take(epoch_of(values), line)
        except ValueError as error:
            raise ReportError(f"{path}, line {number}: {error}") from error
        if cut:
            warnings.append(f"{path}, line {number}: left out an epoch that a killed run wrote only in part")
    lines = epochs.lines.values()
    if not any(KEYS["overall"] in line for line in lines):
        raise ReportError(f"{path}: expected accuracies to compare: call recorder.end_epoch(epoch, overall=...)")
    every = [line[key] for line in lines for key in ACCURACIES & line.keys() if isfinite(line[key])]
    if all(0 <= value <= 1 for value in every) and any(0 < value < 1 for value in every):
        warnings.append(
            f"{path}: no accuracy in any epoch is above 1: read as fractions and shown times 100. Give "
            "recorder.end_epoch accuracies in percent."
        )
        for line in lines:
            line |= {key: 100 * line[key] for key in ACCURACIES & line.keys()}
    return epochs.log(path, warnings)


TOLD = ("nb_classes", "training images", "class counts", "draws", "draws of the classes", "loss", "smoothing")
"""Settings that describe a criterion, besides `reweight`."""

OVERALL = Metric("overall", KEYS["overall"], "overall top-1")
GROUP_METRICS = tuple(Metric(name, KEYS[name], f"{name}-shot") for name in ("many", "medium", "few"))

WORDS = Words(
    notes=(
        "Epochs count from 0. Accuracies are those that the loop gave to recorder.end_epoch; the best epoch is the "
        "first of the best `overall`.",
    ),
    epochs_on="evaluation images",  # not known whether on a validation or a test set
    times="Times: re-weighting (train_reweight_seconds in log.txt).",
    no_times="The log has no training times.",
    settings_from=f"{SETTINGS} beside the log",
    only_known=" and that the runs recorded. Others, such as learning rate or mixup, were not compared unless "
    "RunRecorder(..., settings={...}) noted them",
)


def _check(request: CheckRequest, say: Callable[[CheckResult], None]) -> Checks:
    raise ReportError("Expected a checkout of a host to check but got a loop of your own.")


HOST = Host(
    name="own-loop",
    title="a loop of your own",
    is_log=lambda head: head.startswith(b'{"epoch"'),
    beside=SETTINGS,
    find_log=finds_log(LOG),
    read_log=read_log,
    read_run=read_run,
    check=_check,
    overall=OVERALL,
    groups=GROUP_METRICS,
    metrics=(OVERALL, *GROUP_METRICS, Metric("loss", KEYS["loss"], "loss", percent=False)),
    convention=UPSTREAM,
    groups_setting=SHOT_GROUPS,
    class_names=read_class_names,
    evaluated_line=line_of(
        {"acc1": KEYS["overall"], "many": KEYS["many"], "median": KEYS["medium"], "low": KEYS["few"]}
    ),
    reweight_seconds=f"{LOGGED}{SECONDS}",
    words=WORDS,
    irrelevant=frozenset({"seed"}),
    first=(SHOT_GROUPS, *TOLD),
    optional=frozenset(TOLD),  # the user's own loss may have some of them, too
)
