"""The interface of a host to the rest of the plug-in; README.md here says how to add one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.check import CheckResult, Checks
from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args
from vlltr_plugin.runs.log import Line, Log, StdoutLog

if TYPE_CHECKING:
    from vlltr_plugin.hosts.evaluation import EvaluateRequest, OpenTrained


CheckpointArgs = tuple[dict[str, Any] | None, Path | None, list[str]]
"""The settings in a checkpoint, if there is one; its path; warnings where it is damaged."""


@dataclass(frozen=True)
class RunFiles:
    """What a run of a host left."""

    log: Log
    args: dict[str, Any]  # settings by the host's names; `data_set`, `nb_classes`, `data_path` for every host
    args_source: Path | None  # the file that all settings come from; None if they are not all known
    stdout: StdoutLog | None  # printed times, if they were kept
    warnings: tuple[str, ...]  # what was left out or could not be read
    args_whole: bool = False  # whether a setting that is not there was not set


@dataclass(frozen=True)
class Metric:
    """One number of a result."""

    name: str  # in our reports
    key: str  # in the lines that the host's reader gives
    title: str
    percent: bool = True  # else it is a loss


@dataclass(frozen=True)
class Reference:
    """Published results of a host on one data set with one backbone, without and perhaps with class volume."""

    name: str  # such as `imagenet_lt/r50`
    baseline: str  # which of the results is the one without
    settings: dict[str, Any]  # `data_set` as the host names it, `model` (part of the host's model name), `epochs`
    results: dict[str, dict[str, float]]  # by method: test accuracy in percent by metric; perhaps `training_seconds`
    source: str  # where the numbers come from
    data: Mapping[str, int] = field(default_factory=dict)  # `nb_classes` and `training images`

    @property
    def data_set(self) -> str:
        """The data set, as the host names it."""
        return str(self.settings["data_set"])


def read_references(path: Path, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, Reference]:
    """Published results by name; `sizes` gives classes, and training images where known, of each data set."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for name, results in content["results"].items():
        settings = results.pop("settings")
        data = dict(zip(("nb_classes", "training images"), sizes[settings["data_set"]], strict=False))
        found[name] = Reference(name, next(iter(results)), settings, results, content["source"], data)
    return found


@dataclass(frozen=True)
class Words:
    """Terms and notes for reports on a host's runs."""

    notes: tuple[str, ...]  # what a reader of its numbers has to know
    epochs_on: str  # what the results of its epochs are on
    times: str  # where its times come from
    no_times: str  # what to do where there are none
    settings_from: str  # where a run's settings are read: "no ..." where they are unknown
    empty_groups: str = ""  # of `{groups}` that are 0.0 in every line, where that means no images
    only_known: str = ""  # which settings may differ unseen, where a run records a part of them only
    notes_with: Mapping[str, str] = field(default_factory=dict)  # notes for runs that have a metric, by its name


@dataclass(frozen=True)
class CheckRequest:
    """What `vlltr-plugin check` is asked."""

    config: Path | None  # the host's config
    checkout: Path
    device: str
    host_args: tuple[str, ...]


def line_of(keys: Mapping[str, str]) -> Callable[[dict[str, float | None]], Line]:
    """A `Host.evaluated_line`: the numbers that `keys` names, under the keys of the host's log."""
    return lambda numbers: {keys[key]: value for key, value in numbers.items() if key in keys and value is not None}


@dataclass(frozen=True)
class Host:
    """A code base that the plug-in goes into."""

    name: str  # as users write it, and as in its recipe in `patches/`
    title: str
    is_log: Callable[[bytes], bool]  # whether a log is this host's, by its first bytes
    find_log: Callable[[Path], Path | None]  # the log of a run's folder
    read_log: Callable[[Path], Log]  # a log alone; ReportError if it cannot be used
    read_run: Callable[[Path], RunFiles]  # a log and what lies beside it
    check: Callable[[CheckRequest, Callable[[CheckResult], None]], Checks]  # gives each result as it comes
    overall: Metric  # accuracy over all images
    groups: tuple[Metric, ...]  # many-, medium- and few-shot classes, then parts of them
    metrics: tuple[Metric, ...]  # all that are compared, in the order of the tables
    convention: Convention  # the thresholds of its groups
    reweight_seconds: str  # key of the time that the end of an epoch took
    words: Words
    beside: str = ""  # a file beside its logs that tells whose they are
    logs_groups: bool = True  # whether its log holds the accuracies of its groups; else an evaluation alone does
    groups_setting: str = ""  # the setting that tells a run's own thresholds, where they are the user's
    irrelevant: frozenset[str] = frozenset()  # settings that say where or how often a run was made
    optional: frozenset[str] = frozenset()  # settings that a run may have without recording them
    first: tuple[str, ...] = ()  # settings listed first where they differ
    parameters: str | None = None  # key of the number of trained parameters
    references: Callable[[], Mapping[str, Reference]] = field(default=dict)  # published results, by name
    open_trained: OpenTrained | None = None  # opens a checkpoint with its model and data
    find_checkpoint: Callable[[EvaluateRequest], Path] = lambda request: request.checkpoint
    default_form: Callable[[dict[str, Any]], str] = lambda args: "loss_weight"  # of a re-weighting that names no form
    class_names: Callable[[Path, int], list[str] | None] = lambda start, num_classes: None  # looked for around a path
    evaluated_line: Callable[[dict[str, float | None]], Line] = lambda numbers: {}  # `host_log` as a line of its log
    args_of_checkpoint: Callable[[Path | None], CheckpointArgs] = lambda path: (None, None, [])


def finds_log(name: str) -> Callable[[Path], Path | None]:
    """A `Host.find_log`: the file of that name in a run's folder."""
    return lambda folder: folder / name if (folder / name).is_file() else None


def args_of_checkpoint(path: Path | None) -> CheckpointArgs:
    """The arguments in a checkpoint, if there is one; its path; a warning where it is damaged."""
    try:
        return read_checkpoint_args(path) if path is not None and path.is_file() else None, path, []
    except ValueError as error:
        return None, path, [str(error)]


def later(name: str) -> Callable[..., Any]:
    """The function that "module:function" names, imported when it is called: reading a log needs no torch."""
    module, _, function = name.partition(":")
    return lambda *arguments: getattr(import_module(module), function)(*arguments)


def split_host_args(text: str) -> list[str]:
    """The arguments in `--host-args`; ReportError for a quote that does not end."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ReportError(f"Expected --host-args to be arguments as in a shell but got {text!r} ({error}).") from error


def device_or_default(device: str | None) -> str:
    """The device asked for; without one CUDA where there is some, else the CPU."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
