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
"""Settings in the checkpoint (if there is one), its path, and warnings if it is damaged."""


@dataclass(frozen=True)
class RunFiles:
    """The files of a run of a host, as read."""

    log: Log
    args: dict[str, Any]  # settings by the host's names; `data_set`, `nb_classes`, `data_path` for every host
    args_source: Path | None  # file that all settings were read from; None if some are unknown
    stdout: StdoutLog | None  # printed times, if the output was kept
    warnings: tuple[str, ...]  # what was left out or could not be read
    args_whole: bool = False  # True if a missing setting means that it was not set


@dataclass(frozen=True)
class Metric:
    """One number of a result."""

    name: str  # name in our reports
    key: str  # key in the lines that the host's reader returns
    title: str
    percent: bool = True  # False for a loss


@dataclass(frozen=True)
class Reference:
    """Published results of a host on one data set with one backbone: the baseline, and class volume if published."""

    name: str  # such as `imagenet_lt/r50`
    baseline: str  # name of the result without class volume
    settings: dict[str, Any]  # `data_set` as the host names it, `model` (part of the host's model name), `epochs`
    results: dict[
        str, dict[str, float]
    ]  # by method: test accuracy in percent by metric, and optionally `training_seconds`
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

    notes: tuple[str, ...]  # what a reader must know about the numbers
    epochs_on: str  # split that the epochs' results are measured on
    times: str  # source of the times
    no_times: str  # advice if there are no times
    settings_from: str  # file of a run's settings; the report says "no ..." if it is missing
    empty_groups: str = ""  # note on `{groups}` that are 0.0 in every line, which means that they have no images
    only_known: str = ""  # note on settings that may differ unnoticed because a run records only some of them
    notes_with: Mapping[str, str] = field(default_factory=dict)  # notes for runs that have a metric, by its name


@dataclass(frozen=True)
class CheckRequest:
    """Arguments of `vlltr-plugin check`."""

    config: Path | None  # the host's config
    checkout: Path
    device: str
    host_args: tuple[str, ...]


def line_of(keys: Mapping[str, str]) -> Callable[[dict[str, float | None]], Line]:
    """Default for `Host.evaluated_line`: maps the numbers named in `keys` to the keys of the host's log."""
    return lambda numbers: {keys[key]: value for key, value in numbers.items() if key in keys and value is not None}


@dataclass(frozen=True)
class Host:
    """A code base that the plug-in supports."""

    name: str  # name for users and in its recipe in `patches/`
    title: str
    is_log: Callable[[bytes], bool]  # tells from the first bytes of a log whether this host wrote it
    find_log: Callable[[Path], Path | None]  # finds the log in a run's folder
    read_log: Callable[[Path], Log]  # reads a log alone; ReportError if it cannot be used
    read_run: Callable[[Path], RunFiles]  # reads a log and the files beside it
    check: Callable[[CheckRequest, Callable[[CheckResult], None]], Checks]  # reports each result when it is ready
    overall: Metric  # accuracy over all images
    groups: tuple[Metric, ...]  # many-, medium- and few-shot classes, then parts of them
    metrics: tuple[Metric, ...]  # all metrics to compare, in table order
    convention: Convention  # the thresholds of its groups
    reweight_seconds: str  # key of the seconds spent on re-weighting at an epoch's end
    words: Words
    beside: str = ""  # name of a file beside the log that identifies the host
    class_means: bool = False  # True if it takes a group's accuracy as the mean over its classes, not over its images
    logs_groups: bool = True  # True if the log holds the groups' accuracies; if not, only an evaluation has them
    groups_setting: str = ""  # setting that holds the run's thresholds, if the user chooses them
    irrelevant: frozenset[str] = frozenset()  # settings of place and repetition (paths, seed), not of the method
    optional: frozenset[str] = frozenset()  # settings that a run may have without recording them
    first: tuple[str, ...] = ()  # settings listed first where they differ
    parameters: str | None = None  # key of the number of trained parameters
    references: Callable[[], Mapping[str, Reference]] = field(default=dict)  # published results, by name
    open_trained: OpenTrained | None = None  # opens a checkpoint with its model and data
    find_checkpoint: Callable[[EvaluateRequest], Path] = lambda request: request.checkpoint
    default_form: Callable[[dict[str, Any]], str] = lambda args: "loss_weight"  # default form of the re-weighting
    class_names: Callable[[Path, int], list[str] | None] = lambda start, num_classes: None  # of the data near a path
    evaluated_line: Callable[[dict[str, float | None]], Line] = lambda numbers: {}  # `host_log` as a line of its log
    args_of_checkpoint: Callable[[Path | None], CheckpointArgs] = lambda path: (None, None, [])


def finds_log(name: str) -> Callable[[Path], Path | None]:
    """Default for `Host.find_log`: the file called `name` in a run's folder."""
    return lambda folder: folder / name if (folder / name).is_file() else None


def args_of_checkpoint(path: Path | None) -> CheckpointArgs:
    """The arguments in a checkpoint (if there is one), its path, and a warning if it is damaged."""
    try:
        return read_checkpoint_args(path) if path is not None and path.is_file() else None, path, []
    except ValueError as error:
        return None, path, [str(error)]


def later(name: str) -> Callable[..., Any]:
    """The function named "module:function", imported at its first call, so that reading a log needs no torch."""
    module, _, function = name.partition(":")
    return lambda *arguments: getattr(import_module(module), function)(*arguments)


def split_host_args(text: str) -> list[str]:
    """Splits `--host-args` as a shell would; ReportError for an unclosed quote."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ReportError(f"Expected --host-args to be arguments as in a shell but got {text!r} ({error}).") from error


def device_or_default(device: str | None) -> str:
    """Returns the requested device; by default CUDA if available, else the CPU."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
